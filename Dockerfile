# llamapack with its demo model. deploy/README.md tells how to build and run it.
#
#   docker build -t llamapack .
#   docker run -p 8080:8080 --read-only --tmpfs /tmp llamapack
#
# CPU   what llama.cpp's kernels are compiled for:
#         all     every x86-64 and ARM generation; the best is chosen at start
#         v3      x86-64-v3 (AVX2: Intel from Haswell, AMD from Excavator): compiles in a third of
#                 the time, but newer instructions stay unused
#         native  the machine that builds, and no other
# CUDA  kernels for NVIDIA's GPUs, with images that have CUDA 12.8 or later:
#         all     compute capability 8.0 to 12.0: A100, L4, H100, B200, RTX 30 to 50
#         90;120  these alone, in CMake's words; each takes its time and space
# GGML_RPC      ON: devices of other machines can be used (--rpc), and lent (llamapack rpc-server)
# CMAKE_EXTRA   more options for llama.cpp
ARG BUILD_IMAGE=python:3.11-slim-bookworm
ARG RUNTIME_IMAGE=python:3.11-slim-bookworm

# The pin alone, so that other changes of pyproject.toml don't compile llama.cpp again.
FROM ${BUILD_IMAGE} AS pin
COPY pyproject.toml /
RUN sed -n 's/.*"\(llama-cpp-python==[^"]*\)".*/\1/p' /pyproject.toml >/llama-requirement \
    && test -s /llama-requirement

FROM ${BUILD_IMAGE} AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ make git \
       $(command -v python3 >/dev/null || echo python3 python3-venv python3-dev) \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src

# First what takes minutes and seldom changes.
ARG CPU=all
ARG CUDA=""
ARG GGML_RPC=OFF
ARG CMAKE_EXTRA=""
COPY deploy/amx_tile_config.h deploy/build_llama.sh deploy/install_llama.py deploy/
COPY --from=pin /llama-requirement deploy/
RUN CPU="$CPU" CUDA="$CUDA" GGML_RPC="$GGML_RPC" CMAKE_EXTRA="$CMAKE_EXTRA" \
    sh deploy/build_llama.sh "$(cat deploy/llama-requirement)"

# Then the libraries, and last our own code.
COPY pyproject.toml constraints.txt deploy/image_requirements.py ./
RUN --mount=type=cache,target=/root/.cache/pip,sharing=locked \
    python3 image_requirements.py >/tmp/requirements.txt \
    && pip install -c constraints.txt -r /tmp/requirements.txt
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip,sharing=locked \
    pip install -c constraints.txt '.[otel,kv-events,gpu]' \
    && pip uninstall -y pip \
    && python3 -c "from scheduler.backends.llama.devices import load_backends; load_backends()"

FROM ${RUNTIME_IMAGE}
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 \
       $(command -v python3 >/dev/null || echo python3) \
    && rm -rf /var/lib/apt/lists/* \
    && mkdir /models && chown 10001:10001 /models
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    HF_HOME=/models \
    LLAMA_ARG_HOST=0.0.0.0 \
    LLAMA_ARG_PORT=8080 \
    LLAMA_ARG_ENDPOINT_METRICS=1
USER 10001:10001
WORKDIR /models
VOLUME /models
EXPOSE 8080
STOPSIGNAL SIGTERM
# Loading a large model may take minutes; until then the answer is 503.
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s --retries=3 \
    CMD ["python3", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['LLAMA_ARG_PORT'] + '/health', timeout=4)"]
ENTRYPOINT ["llamapack", "serve"]
