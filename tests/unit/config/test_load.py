"""Settings from flags, variables, TOML files and presets: values, precedence and errors."""

from pathlib import Path

import pytest

from config import ConfigError, ServeSettings, load_settings


def flags(line: str) -> ServeSettings:
    return load_settings(line.split(), {})


def error(argv: list[str], environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(argv, environ or {})
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "llamapack.toml"


# --- values ------------------------------------------------------------------------------


def test_llama_server_defaults_hold_without_any_setting() -> None:
    settings = flags("")
    assert (settings.host, settings.port, settings.parallel) == (("127.0.0.1",), 8080, 4)
    assert (settings.temp, settings.top_k, settings.top_p, settings.min_p) == (0.8, 40, 0.95, 0.05)
    assert (settings.batch_size, settings.ubatch_size, settings.ctx_size) == (2048, 512, 0)
    assert settings.slots
    assert not settings.metrics
    assert ";".join(settings.samplers) == (
        "penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature"
    )


def test_a_command_line_of_llama_server_is_understood() -> None:
    settings = flags(
        "-m m.gguf -a one,two -c 8192 -np 2 -b 256 -ub 128 -t 4 -tb 8 -ngl 99 -fa on -ctk q8_0 "
        "-ctv q4_0 -kvu -n 100 --temp 0.5 --seed 7 --host 0.0.0.0 --port 9000 --api-prefix /llm "
        "--no-slots --metrics --props --jinja -cb --threads-http 4 -to 60"
    )
    assert settings.model == Path("m.gguf")
    assert settings.alias == ("one", "two")
    assert (settings.ctx_size, settings.parallel, settings.n_gpu_layers) == (8192, 2, 99)
    assert (settings.flash_attn, settings.cache_type_k, settings.cache_type_v) == (
        ("on", "q8_0", "q4_0")
    )
    assert settings.kv_unified
    assert (settings.n_predict, settings.temp, settings.seed) == (100, 0.5, 7)
    assert (settings.api_prefix, settings.slots) == ("/llm", False)


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("--ctx_size 10", "ctx_size", 10),
        ("--ctx-size=10", "ctx_size", 10),
        ("-c 1000 -c 2000", "ctx_size", 2000),
        ("-np -1", "parallel", 4),
        ("--seed -1", "seed", -1),
        ("--seed 4294967295", "seed", 2**32 - 1),
        ("-ngl all", "n_gpu_layers", -2),
        ("-ngl auto", "n_gpu_layers", -1),
        ("-fa 1", "flash_attn", "on"),
        ("-fa disabled", "flash_attn", "off"),
        ("-nocb", "cont_batching", False),
        ("--slots --no-slots", "slots", False),
        ("-ts 3,1", "tensor_split", (3.0, 1.0)),
        ("--no-mmap", "load_mode", "none"),
        ("--mlock", "load_mode", "mmap+mlock"),
        ("-v", "verbosity", 5),
        ("--log-disable", "verbosity", -1),
        ("--rope-scale 4", "rope_freq_scale", 0.25),
        ("--sampler-seq kt", "samplers", ("top_k", "temperature")),
        ("--samplers top-k;nucleus;TEMP", "samplers", ("top_k", "top_p", "temperature")),
        ("-l 5+1.5 -l 6-2", "logit_bias", ((5, 1.5), (6, -2.0))),
        ("-l 5-inf", "logit_bias", ((5, float("-inf")),)),
        ("--host ::1 --host a.sock,10.0.0.1", "host", ("::1", "a.sock", "10.0.0.1")),
        ("--host [::1]", "host", ("::1",)),
        ("--host /run/llamapack.sock", "host", ("/run/llamapack.sock",)),
        ("--api-prefix /a/", "api_prefix", "/a"),
        ("--cors-origins https://a.b,http://c:1", "cors_origins", ("https://a.b", "http://c:1")),
        ("--cors-credentials --no-cors-credentials", "cors_credentials", False),
        ("--audit-log -", "audit_log", Path("-")),
        ('--api-key k1,"k,2" --api-key k3', "api_key", ("k1", "k,2", "k3")),
        ("--dry-sequence-breaker \\n --dry-sequence-breaker x", "dry_sequence_breakers",
         ("\n", "x")),
        ("--dry-sequence-breaker none", "dry_sequence_breakers", ()),
        ('--chat-template-kwargs {"a":[1]}', "chat_template_kwargs", {"a": [1]}),
        ('-j {"type":"object"}', "json_schema", {"type": "object"}),
        ("", "spec_type", ()),
        ("-md d.gguf", "spec_type", ("draft-simple",)),
        ("-hfd u/r", "spec_type", ("draft-simple",)),
        ("-md d.gguf --spec-type none", "spec_type", ()),
        ("--spec-type draft-simple,ngram-mod,ngram-simple -md d", "spec_type",
         ("ngram-simple", "ngram-mod", "draft-simple")),
        ("--spec-type ngram-mod --spec-type ngram-simple", "spec_type",
         ("ngram-simple", "ngram-mod")),
        ("--spec-default", "spec_type", ("ngram-mod",)),
        ("--spec-draft-model d.gguf", "spec_draft_model", Path("d.gguf")),
        ("--model-draft d.gguf", "spec_draft_model", Path("d.gguf")),
        ("--draft-p-min 0.5", "spec_draft_p_min", 0.5),
        ("-ctkd q8_0", "spec_draft_type_k", "q8_0"),
        ("-td 2", "spec_draft_threads", 2),
        ("-ngld all", "spec_draft_ngl", -2),
        ("--no-measure-costs", "measure_costs", False),
        ("-C f0 -C 1", "cpu_mask", (0, 4, 5, 6, 7)),
        ("--cpu-range 2-4", "cpu_range", (2, 3, 4)),
        ("--cpu-range 510-", "cpu_range", (510, 511)),
        ("--prio -1", "prio", -1),
        ("--control-vector-layer-range 2 5", "control_vector_layer_range", (2, 5)),
        ("--control-vector-layer-range=2,5 -np 3", "control_vector_layer_range", (2, 5)),
        ("-r a,b -r \\n\\n", "reverse_prompt", ("a,b", "\n\n")),
        ("--no-escape -r \\n", "reverse_prompt", ("\\n",)),
        ("--dry-sequence-breaker \\n --no-escape", "dry_sequence_breakers", ("\\n",)),
        ("-sp", "special", True),
        ("--path /tmp", "path", Path("/tmp")),
        ("--reuse-port", "reuse_port", True),
        ("--perf", "perf", True),
        ("--log-colors 0", "log_colors", "off"),
        ("--override-kv a.b=int:-3,c=bool:true --override-kv d=float:1e-5", "override_kv",
         (("a.b", -3), ("c", True), ("d", 1e-5))),
        ('--override-kv "a=str:x,y=z:int:1"', "override_kv", (("a", "x,y=z:int:1"),)),
        ("--override-kv a=int:1,b=bool:false", "override_kv", (("a", 1), ("b", False))),
        ("-ot exps=CPU,^a=b$=CUDA0", "override_tensor", (("exps", "CPU"), ("^a=b$", "CUDA0"))),
        ("--check-tensors", "check_tensors", True),
        ("-dev CUDA0,CUDA1", "device", ("CUDA0", "CUDA1")),
        ("-lzm 0", "lazy_mode", "off"),
        ("--no-host", "no_host", True),
        ("--no-op-offload", "op_offload", False),
        ("--numa isolate", "numa", "isolate"),
    ],
)  # fmt: skip
def test_flags_are_read_as_llama_server_reads_them(line: str, field: str, value: object) -> None:
    assert getattr(flags(line), field) == value


@pytest.mark.parametrize("word", ["true", "1", "on", "enabled", "TRUE"])
def test_words_that_switch_on(word: str) -> None:
    assert load_settings([], {"LLAMA_ARG_ENDPOINT_METRICS": word}).metrics


@pytest.mark.parametrize("word", ["false", "0", "off", "disabled"])
def test_words_that_switch_off(word: str) -> None:
    assert not load_settings([], {"LLAMA_ARG_ENDPOINT_SLOTS": word}).slots


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("LLAMA_ARG_CTX_SIZE", "512", "ctx_size", 512),
        ("LLAMA_ARG_N_PARALLEL", "8", "parallel", 8),
        ("LLAMA_ARG_HOST", "0.0.0.0,::", "host", ("0.0.0.0", "::")),
        ("LLAMA_API_KEY", "a,b", "api_key", ("a", "b")),
        ("HF_TOKEN", "hf_x", "hf_token", "hf_x"),
        ("LLAMA_ARG_NO_WARMUP", "1", "warmup", False),
        ("LLAMA_ARG_NO_MMAP", "1", "load_mode", "none"),
        ("LLAMA_ARG_MMAP", "0", "load_mode", "none"),
        ("LLAMA_ARG_MLOCK", "0", "load_mode", "auto"),
        ("LLAMA_ARG_SEED", "3", "seed", 3),
        ("LLAMAPACK_MAX_QUEUE", "9", "max_queue", 9),
        ("LLAMA_ARG_SPEC_TYPE", "ngram-mod,ngram-simple", "spec_type",
         ("ngram-simple", "ngram-mod")),
        ("LLAMA_ARG_SPEC_DRAFT_MODEL", "d.gguf", "spec_type", ("draft-simple",)),
        ("LLAMA_ARG_SPEC_DRAFT_N_MAX", "3", "spec_draft_n_max", 3),
        ("LLAMA_ARG_SPEC_DRAFT_CACHE_TYPE_V", "q4_0", "spec_draft_type_v", "q4_0"),
        ("LLAMA_ARG_N_GPU_LAYERS_DRAFT", "5", "spec_draft_ngl", 5),
        ("LLAMAPACK_MEASURE_COSTS", "off", "measure_costs", False),
        ("LLAMA_ARG_MODEL", "", "model", None),
        ("LLAMAPACK_PORT", "tcp://10.0.0.1:8080", "port", 8080),
    ],
)  # fmt: skip
def test_variables_are_read(name: str, text: str, field: str, value: object) -> None:
    assert getattr(load_settings([], {name: text}), field) == value


def test_a_toml_file_gives_the_same_settings(toml: Path) -> None:
    toml.write_text(
        'ctx_size = 4096\nhost = ["::1", "a.sock"]\nmetrics = true\nflash_attn = true\n'
        'n_gpu_layers = "all"\nlogit_bias = [[5, 1.5], "6-inf"]\nrope_scale = 2\n'
        'samplers = ["top_k", "temperature"]\ndry_sequence_breakers = ["\\n"]\nmmap = false\n'
        '[chat_template_kwargs]\nenable_thinking = false\n'
    )  # fmt: skip
    settings = load_settings(["--config", str(toml)], {})
    assert (settings.ctx_size, settings.host, settings.metrics) == (4096, ("::1", "a.sock"), True)
    assert (settings.flash_attn, settings.n_gpu_layers, settings.load_mode) == ("on", -2, "none")
    assert settings.logit_bias == ((5, 1.5), (6, float("-inf")))
    assert settings.rope_freq_scale == 0.5
    assert settings.samplers == ("top_k", "temperature")
    assert settings.chat_template_kwargs == {"enable_thinking": False}


def test_an_option_without_effect_is_noticed_by_the_name_that_was_given(toml: Path) -> None:
    toml.write_text("threads_http = 4\n")
    reason = "has no effect: connections share one thread and wait without blocking it"
    for argv, environ, name in (
        (["--threads-http", "4"], {"LLAMA_ARG_THREADS_HTTP": "3"}, "--threads-http"),
        (["--threads_http=4"], {}, "--threads-http"),
        ([], {"LLAMA_ARG_THREADS_HTTP": "4"}, "LLAMA_ARG_THREADS_HTTP"),
        (["--config", str(toml)], {}, f"threads_http in {toml}"),
    ):
        notices: list[str] = []
        load_settings(argv, environ, notices.append)
        assert notices == [f"{name} {reason}"]


def test_secrets_do_not_show_in_the_settings_text() -> None:
    text = repr(flags("--api-key top-secret -hft hf_secret"))
    assert "secret" not in text


# --- precedence --------------------------------------------------------------------------


def test_flag_beats_variable_beats_file_beats_preset(toml: Path) -> None:
    toml.write_text("parallel = 5\nmax_queue = 5\nport = 5\n")
    environ = {"LLAMA_ARG_N_PARALLEL": "6", "LLAMA_ARG_PORT": "6", "LLAMAPACK_CONFIG": str(toml)}
    settings = load_settings(["--preset", "gpu-server", "--port", "7"], environ)
    assert (settings.port, settings.parallel, settings.max_queue) == (7, 6, 5)
    assert settings.metrics  # from the preset


def test_a_toml_file_can_name_a_preset(toml: Path) -> None:
    toml.write_text('preset = "gpu-server"\nparallel = 2\n')
    settings = load_settings(["--config", str(toml)], {})
    assert (settings.parallel, settings.metrics) == (2, True)


def test_a_flag_for_one_model_replaces_a_variable_for_another() -> None:
    settings = load_settings(["-hf", "u/r"], {"LLAMA_ARG_MODEL": "/models/m.gguf"})
    assert (settings.model, settings.hf_repo) == (None, "u/r")


@pytest.mark.parametrize(
    "line",
    [
        "-m m.gguf -hf u/r",
        "-hf u/r -m m.gguf -hff x.gguf",
        "-mu https://x/a.gguf -m m.gguf",
        "-m m.gguf -dr smollm2",
    ],
)
def test_a_file_and_where_it_comes_from_can_both_be_given(line: str) -> None:
    settings = flags(line)
    assert settings.model == Path("m.gguf")
    assert settings.hf_repo or settings.model_url or settings.docker_repo


def test_lists_of_a_higher_level_replace_those_below() -> None:
    assert load_settings(["--api-key", "a"], {"LLAMA_API_KEY": "b"}).api_key == ("a",)


def test_the_micro_batch_follows_a_smaller_batch() -> None:
    assert flags("-b 100").ubatch_size == 100
    assert load_settings(["-b", "100"], {"LLAMA_ARG_UBATCH": "200"}).ubatch_size == 100


def test_adapters_come_in_lists_and_one_by_one(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.gguf", "b:2.gguf", "c.gguf")]
    for file in files:
        file.touch()
    a, b, c = map(str, files)
    loaded = flags(f"--lora {a},{b} --lora {c} --lora-scaled {b}:0.5,{a}:-1")
    assert loaded.lora == tuple(files)
    assert loaded.lora_scaled == ((files[1], 0.5), (files[0], -1.0))


# --- errors ------------------------------------------------------------------------------


OVERRIDE_KV = (
    "--override-kv must look like general.name=str:text (a key, a type out of int, float, bool and "
    "str, a value of that type; key and text have at most 127 bytes), got "
)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--ctx-size -5", "--ctx-size must be at least 0, got -5"),
        ("-c abc", "-c must be a whole number, got abc"),
        ("-c 1.5", "-c must be a whole number, got 1.5"),
        ("--port 70000", "--port must be at most 65535, got 70000"),
        ("-np 0", "-np must be at least 1, or -1 for the default, got 0"),
        ("--temp nan", "--temp must be a finite number, got nan"),
        ("--top-p 1.5", "--top-p must be at most 1, got 1.5"),
        ("--repeat-penalty 0", "--repeat-penalty must be more than 0, got 0"),
        ("-fa maybe", "-fa must be on, off or auto, got maybe"),
        ("-ctk q9", "-ctk must be one of f32, f16, bf16, q8_0, q4_0, q4_1, iq4_nl, q5_0 or q5_1, "
                    "got q9"),
        ("-ts 3,x", "-ts must be a number, got x"),
        ("-l 5", "-l must look like 15043+1 or 15043-1 (a token id, a sign, a bias), got 5"),
        ("--host 1.2.3.4:80", "--host must be addresses without a port, or socket paths that end "
                              "in .sock, got 1.2.3.4:80"),
        ("--host ,", "--host must name at least one address, got ,"),
        ("--api-prefix llm", "--api-prefix must start with /, got llm"),
        ("--sampler-seq kz", "--sampler-seq must use the letters edskypmxtia only ('z' is none), "
                             "got kz"),
        ("--rope-scale 0", "--rope-scale must be a number other than 0, got 0"),
        ("-j [1]", "-j must be a JSON object, got [1]"),
        ("--ctx-siz 5", "unknown flag --ctx-siz; did you mean --ctx-size?"),
        ("--xyzzy", "unknown flag --xyzzy"),
        ("model.gguf", "unexpected argument 'model.gguf'; settings are given as flags"),
        ("-c", "-c needs a value"),
        ("-c --slots", "-c needs a value"),
        ("--slots=1", "--slots takes no value, got 1"),
        ("--preset xyzzy", "--preset must be one of cpu-laptop, gpu-server, got xyzzy"),
        ("--config /no/such.toml", "can't read the configuration /no/such.toml: No such file or "
                                   "directory"),
        ("-mu https://x/a.gguf -hf u/r", "-mu and -hf can't both be given"),
        ("-m a -dr smollm2 -mu https://x/a.gguf", "-dr and -mu can't both be given"),
        ("--mlock --no-mmap", "--mlock and --no-mmap can't both be given"),
        ("--rope-scale 2 --rope-freq-scale 1",
         "--rope-freq-scale and --rope-scale can't both be given"),
        ("-hff m.gguf", "-hff needs --hf-repo as well"),
        ("--kv-events-replay-endpoint tcp://*:1",
         "--kv-events-replay-endpoint needs --kv-events-endpoint as well"),
        ("--kv-events-endpoint 5557", "--kv-events-endpoint must be an address such as "
                                      "tcp://*:5557, or a path such as ipc:///run/kv, got 5557"),
        ("--kv-events-topic kv@{pod}", "--kv-events-topic may have no other places than {host}, "
                                       "{port}, {model}, got kv@{pod}"),
        ("--ssl-key-file /dev/null", "--ssl-key-file needs --ssl-cert-file as well"),
        ("-b 256 -ub 512", "-ub must be at most -b (256), got 512"),
        ("--cors-origins app.example/chat",
         "--cors-origins must be origins such as https://app.example.com, hosts such as "
         "app.example.com or localhost, or *, got app.example/chat"),
        ("--cors-origins * --cors-credentials",
         "--cors-credentials needs origins by name, but --cors-origins allows any"),
        ("--api-keys-toml /no/such", "--api-keys-toml: /no/such is not a file"),
        ("-ub 4096", "-ub must be at most --batch-size (2048), got 4096"),
        ("-c 3 -np 4", "-c must be at least the number of slots (4), got 3"),
        ("--cache-reuse 5", "--cache-reuse must be 0 or at least 16, got 5"),
        ("--samplers infill;top_k", "--samplers may have infill only after top_k"),
        ("--lora-scaled a.gguf", "--lora-scaled must look like adapter.gguf:0.5 (a file, a "
                                 "colon, a scale), got a.gguf"),
        ("--lora-scaled a.gguf:x", "--lora-scaled must look like adapter.gguf:0.5 (a file, a "
                                   "colon, a scale), got a.gguf:x"),
        ("--rerank --pooling mean", "--rerank needs --pooling rank"),
        ("--lora /no/such.gguf", "--lora: /no/such.gguf is not a file"),
        ("-ctv q8_0 -fa off", "-ctv q8_0 needs flash attention, which -fa turns off"),
        ("--cache-disk /tmp/x -cram 0", "--cache-disk needs host memory, which -cram 0 turns off"),
        ("--spec-type ngram-map-k", "--spec-type must name methods out of ngram-simple, ngram-mod, "
         "draft-simple, none (ngram-map-k is not supported), got ngram-map-k"),
        ("--spec-type eagle", "--spec-type must name methods out of ngram-simple, ngram-mod, "
         "draft-simple, none ('eagle' is none), got eagle"),
        ("--spec-type none,ngram-mod", "--spec-type must be none alone, or methods, got "
         "none,ngram-mod"),
        ("--spec-type draft-simple",
         "--spec-type draft-simple needs --spec-draft-model or --spec-draft-hf as well"),
        ("-md d.gguf --spec-type ngram-mod", "-md needs draft-simple in --spec-type as well"),
        ("-ctvd q8_0 -fa off", "-ctvd q8_0 needs flash attention, which -fa turns off"),
        ("--spec-draft-n-min 17",
         "--spec-draft-n-min must be at most --spec-draft-n-max (16), got 17"),
        ("--spec-draft-n-max 0", "--spec-draft-n-max must be at least 1, got 0"),
        ("--draft-max 16", "--draft-max: llama-server has removed this option; use "
                           "--spec-draft-n-max or --spec-ngram-mod-n-max"),
        ("-C xyz", "-C must be a hexadecimal mask of at most 512 CPUs, such as f0, got xyz"),
        ("-C 0", "-C must be a hexadecimal mask of at most 512 CPUs, such as f0, got 0"),
        ("-Cr 3", "-Cr must be a range of CPUs below 512, such as 0-3, got 3"),
        ("-Cr 3-1", "-Cr must be a range of CPUs below 512, such as 0-3, got 3-1"),
        ("-Crd 0-512", "-Crd must be a range of CPUs below 512, such as 0-3, got 0-512"),
        ("--override-kv a=int:x", OVERRIDE_KV + "a=int:x"),
        ("--override-kv a=long:1", OVERRIDE_KV + "a=long:1"),
        ("--override-kv a=bool:yes", OVERRIDE_KV + "a=bool:yes"),
        ("--override-kv =int:1", OVERRIDE_KV + "=int:1"),
        (f"--override-kv a=int:{1 << 63}", OVERRIDE_KV + f"a=int:{1 << 63}"),
        ("-ot exps", "-ot must look like blk\\.0\\.=CPU (a regular expression, =, a memory), "
                     "got exps"),
        ("-ot (=CPU", "-ot must have a regular expression before = (missing ), unterminated "
                      "subpattern at position 0), got (=CPU"),
        ("-ncmoe -1", "-ncmoe must be at least 0, got -1"),
        ("--prio 4", "--prio must be at most 3, got 4"),
        ("--poll 101", "--poll must be at most 100, got 101"),
        ("--cpu-strict 2", "--cpu-strict must be at most 1, got 2"),
        ("--control-vector-layer-range 2", "--control-vector-layer-range needs a value"),
        ("--control-vector-layer-range 2 -np", "--control-vector-layer-range needs a value"),
        ("--control-vector-layer-range 2 x",
         "--control-vector-layer-range must be a whole number, got x"),
        ("--control-vector /no.gguf", "--control-vector: /no.gguf is not a file"),
        ("--control-vector-scaled /no.gguf:2", "--control-vector-scaled: /no.gguf is not a file"),
        ("--path /none", "--path: there is no folder /none"),
        ("--slot-save-path /none", "--slot-save-path: there is no folder /none"),
        ("--grammar-file /no/such", "--grammar-file: /no/such is not a file"),
    ],
)  # fmt: skip
def test_a_wrong_flag_gets_one_line(line: str, message: str) -> None:
    found = error(line.split())
    # Two flags that exclude each other may be named in either order.
    assert found == message or set(found.split()) == set(message.split())


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"LLAMA_ARG_CTX_SIZE": "-5"}, "LLAMA_ARG_CTX_SIZE must be at least 0, got -5"),
        ({"LLAMA_ARG_CTXSIZE": "5"},
         "unknown variable LLAMA_ARG_CTXSIZE; did you mean LLAMA_ARG_CTX_SIZE?"),
        ({"LLAMA_ARG_SLOTS": "1"},
         "unknown variable LLAMA_ARG_SLOTS; did you mean LLAMA_ARG_ENDPOINT_SLOTS?"),
        ({"LLAMA_ARG_WARMUP": "maybe"},
         "LLAMA_ARG_WARMUP must be true, 1, on, enabled, false, 0, off or disabled, got maybe"),
        ({"LLAMA_ARG_MMPROJ": "p.gguf"}, "LLAMA_ARG_MMPROJ: multimodal input is not supported; "
         "use llama-server for images, audio and video"),
    ],
)  # fmt: skip
def test_a_wrong_variable_gets_one_line(environ: dict[str, str], message: str) -> None:
    assert error([], environ) == message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("ctx_size = -5", "ctx_size in {path} must be at least 0, got -5"),
        ("ctx_size = true", "ctx_size in {path} must be a number, got true"),
        ("model = 5", "model in {path} must be a path, got 5"),
        ("alias = 5\nport = [1]", "port in {path} must be a whole number, got 1"),
        ("ctx_siz = 5", "unknown key ctx_siz in {path}; did you mean ctx_size?"),
        ("temperature = 1", "unknown key temperature in {path}; did you mean temp?"),
        ("ctx-size = 1", "unknown key ctx-size in {path}; did you mean ctx_size?"),
        ("config = 'x'", "unknown key config in {path}"),
        ("mmproj = 'x'", "mmproj in {path}: multimodal input is not supported; "
         "use llama-server for images, audio and video"),
        ("docker_repo = 'a'\nhf_repo = 'u/r'",
         "docker_repo in {path} and hf_repo in {path} can't both be given"),
        ("ctx_size 5", "{path} is not a TOML file: Expected '=' after a key in a key/value pair "
                       "(at line 1, column 10)"),
    ],
)  # fmt: skip
def test_a_wrong_toml_key_gets_one_line(toml: Path, content: str, message: str) -> None:
    toml.write_text(content)
    assert error(["--config", str(toml)]) == message.format(path=toml)


def test_flags_that_are_right_together_pass(tmp_path: Path) -> None:
    pem = tmp_path / "x.pem"
    pem.write_text("")
    flags(f"--ssl-key-file {pem} --ssl-cert-file {pem}")
    flags("-hf u/r -hff m.gguf")


@pytest.mark.parametrize("value", ["", " ", ",", " , "])
def test_a_key_that_is_empty_does_not_open_the_server(value: str) -> None:
    for argv, environ in ((["--api-key", value], {}), ([], {"LLAMA_API_KEY": value})):
        with pytest.raises(ConfigError, match="holds no key"):
            load_settings(argv, environ)


# --- devices of other machines -----------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("worker:50052", ("worker:50052",)),
        ("10.0.0.7:1,10.0.0.8:65535", ("10.0.0.7:1", "10.0.0.8:65535")),
        ("rpc-0.rpc.default.svc:50052,", ("rpc-0.rpc.default.svc:50052",)),
    ],
)
def test_rpc_servers_are_hosts_with_ports(text: str, servers: tuple[str, ...]) -> None:
    assert flags(f"--rpc {text}").rpc == servers
    assert load_settings([], {"LLAMA_ARG_RPC": text}).rpc == servers


@pytest.mark.parametrize(
    "text",
    [
        *("worker", "worker:", ":50052", "worker:0", "worker:65536", "worker:x", "a b:1"),
        *("[::1]:50052", "::1:50052", "http://worker:50052", "worker:50052/x", "-x:1", "w:\uff11"),
    ],
)
def test_what_is_no_address_of_an_rpc_server_is_refused(text: str) -> None:
    assert error(["--rpc", text]).startswith("--rpc must look like 192.168.1.7:50052")


def test_rpc_servers_are_few_and_named_once() -> None:
    many = ",".join(f"w{number}:1" for number in range(17))
    assert "16" in error(["--rpc", many])
    assert "must name each server once" in error(["--rpc", "w:1,v:1,w:1"])


def test_rpc_goes_with_layers_and_devices_only() -> None:
    assert flags("--rpc w:1 -sm layer -dev RPC0").rpc == ("w:1",)
    assert "can't be used with -sm tensor" in error(["--rpc", "w:1", "-sm", "tensor"])
    assert "can't be used with -dev none" in error(["--rpc", "w:1", "-dev", "none"])
