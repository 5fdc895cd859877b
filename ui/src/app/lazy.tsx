// Views that are loaded when they are first shown.
import { Component, type ComponentChildren, type ComponentType, type FunctionComponent } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { texts } from '../texts'

/** A component whose code is loaded when it is first shown. */
export function lazy(load: () => Promise<{ default: ComponentType }>): FunctionComponent {
  let loading: Promise<{ default: ComponentType }> | undefined
  return function Lazy() {
    const [Loaded, setLoaded] = useState<ComponentType | null>(null)
    const [failure, setFailure] = useState<unknown>(null)
    useEffect(() => {
      loading ??= load()
      loading.then(
        (module) => setLoaded(() => module.default),
        (error: unknown) => {
          loading = undefined
          setFailure(error ?? new Error())
        },
      )
    }, [])
    if (failure) throw failure
    return Loaded ? <Loaded /> : <div class="loading" role="status" aria-label={texts.frame.loading} />
  }
}

/** Shows what went wrong in a view, instead of an empty page. */
export class Suspense extends Component<{ children: ComponentChildren }, { failure: unknown }> {
  override state = { failure: null as unknown }

  override componentDidCatch(failure: unknown): void {
    this.setState({ failure })
  }

  override render() {
    if (!this.state.failure) return this.props.children
    return (
      <main class="page-view">
        <div class="empty" role="alert">
          <h1>{texts.frame.viewFailed}</h1>
          <p>{texts.frame.viewFailedHelp}</p>
          <button class="button" onClick={() => location.reload()}>
            {texts.frame.reload}
          </button>
        </div>
      </main>
    )
  }
}
