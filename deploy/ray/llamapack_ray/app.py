"""Puts the application together: `PYTHONPATH=deploy/ray serve run llamapack_ray.app:build`.

Serve looks at the annotations of `build`, so they are no strings here.
"""

from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, RequestRouterConfig

from llamapack_ray.ingress import Ingress
from llamapack_ray.options import Options
from llamapack_ray.replica import Replica
from llamapack_ray.scaling import QueuePolicy

HEALTH_SECONDS = 5.0
PREFIX_ROUTER = (
    "ray.llm._internal.serve.routing_policies.prefix_aware.prefix_aware_router"
    ":PrefixCacheAffinityRouter"
)
"""Its public name, in `ray.serve.llm.request_router`, comes with what vLLM needs."""

MANY = 100_000
"""Requests that the ingress may have at once: it only passes them on."""


def build(options: Options) -> Application:
    """The application: an ingress in front of the replicas."""
    replicas = serve.deployment(
        Replica,
        name="llamapack",
        ray_actor_options={"num_cpus": options.cpus, "num_gpus": options.gpus},
        max_ongoing_requests=options.requests,
        autoscaling_config=_scaling(options),
        request_router_config=_routing(options),
        health_check_period_s=HEALTH_SECONDS,
        health_check_timeout_s=2 * HEALTH_SECONDS,
        graceful_shutdown_timeout_s=options.stop_seconds,
    )
    ingress = serve.deployment(
        Ingress, name="ingress", ray_actor_options={"num_cpus": 0}, max_ongoing_requests=MANY
    )
    return ingress.bind(replicas.bind(options))


def _scaling(options: Options) -> AutoscalingConfig:
    policy = AutoscalingPolicy(
        policy_function=QueuePolicy,
        policy_kwargs={"waiting": options.waiting, "kv_use": options.kv_use},
    )
    return AutoscalingConfig(
        min_replicas=options.min_replicas,
        max_replicas=options.max_replicas,
        upscale_delay_s=options.upscale_seconds,
        downscale_delay_s=options.downscale_seconds,
        policy=policy,
    )


def _routing(options: Options) -> RequestRouterConfig:
    if options.routing == "even":
        return RequestRouterConfig()
    return RequestRouterConfig(
        request_router_class=PREFIX_ROUTER,
        request_router_kwargs={
            "imbalanced_threshold": options.imbalance,
            "do_eviction": True,
        },
    )
