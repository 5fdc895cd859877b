{{/*
A manifest of base/, as text, with the names and the namespace of this release.
Call it with (list $ "deployment.yaml").
*/}}
{{- define "base" -}}
{{- $root := index . 0 -}}
{{- $text := $root.Files.Get (printf "base/%s" (index . 1)) | required (printf "the chart has no base/%s" (index . 1)) -}}
{{- $named := printf "${1}%s" $root.Release.Name -}}
{{- $keys := `name|secretName|claimName|serviceName|service|interceptorRoute|app\.kubernetes\.io/name` -}}
{{- $text = regexReplaceAll (printf `(?m)^(\s*(?:- )?(?:%s): )llamapack\b` $keys) $text $named -}}
{{- $text = regexReplaceAll `(?m)^(\s*namespace: )llamapack$` $text (printf "${1}%s" $root.Release.Namespace) -}}
{{- range $fixed := list "llamapack-rpc" "--pool-name=llamapack" "//llamapack:" -}}
{{- $text = $text | replace $fixed ($fixed | replace "llamapack" $root.Release.Name) -}}
{{- end -}}
{{- $text = $text | replace "--pool-namespace=llamapack" (printf "--pool-namespace=%s" $root.Release.Namespace) -}}
{{- $text | replace `{namespace="llamapack"}` (printf `{namespace="%s"}` $root.Release.Namespace) -}}
{{- end -}}

{{/* All manifests of a file, each after a line with three dashes. */}}
{{- define "all" -}}
{{- range $part := regexSplit `(?m)^---$` (include "base" .) -1 }}
---
{{ $part | trim }}
{{- end }}
{{- end -}}

{{- define "keys" -}}
{{ .Values.keys.existingSecret | default (printf "%s-keys" .Release.Name) }}
{{- end -}}

{{- define "claim" -}}
{{ .Values.models.existingClaim | default (printf "%s-models" .Release.Name) }}
{{- end -}}

{{- define "image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
