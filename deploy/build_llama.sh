#!/bin/sh
# build_llama.sh REQUIREMENT: compiles llama-cpp-python and installs it in the active virtual
# environment of an image. $CPU and $CUDA name what it is compiled for, $GGML_RPC whether devices of other
# machines can be used (see Dockerfile), $CMAKE_EXTRA further options.
set -eu

case "${CPU:-all}" in
all)
    # One library for each generation of CPUs, in the folder where load_backends looks for them.
    options="-DGGML_NATIVE=OFF -DGGML_BACKEND_DL=ON -DGGML_CPU_ALL_VARIANTS=ON
             -DCMAKE_INSTALL_BINDIR=llama_cpp/lib"
    ;;
v3)
    options="-DGGML_NATIVE=OFF -DGGML_SSE42=ON -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_BMI2=ON
             -DGGML_FMA=ON -DGGML_F16C=ON"
    ;;
native)
    options="-DGGML_NATIVE=ON"
    ;;
*)
    echo "CPU must be all, v3 or native, not $CPU" >&2
    exit 1
    ;;
esac

case "${CUDA:-}" in
'') architectures="" ;;
# The newest ones that CUDA 12.8 and 13 both know. 100 without -real brings code that drivers
# compile for later GPUs. The 4-bit units of 120 need the a.
all) architectures="80-real;86-real;89-real;90-real;100;120a-real" ;;
*[!0-9a-z\;-]*)
    echo "CUDA must be all or a list such as 80;90, not $CUDA" >&2
    exit 1
    ;;
*) architectures="$CUDA" ;;
esac
if [ -n "$architectures" ]; then
    # The image is built without a driver. Only backends in files of their own may miss theirs.
    if [ "${CPU:-all}" != all ]; then
        echo "CUDA needs CPU=all, not $CPU" >&2
        exit 1
    fi
    options="$options -DGGML_CUDA=ON -DGGML_CUDA_FA=ON -DCMAKE_CUDA_ARCHITECTURES=$architectures
             -DCMAKE_EXE_LINKER_FLAGS=-Wl,--allow-shlib-undefined"
fi

case "${GGML_RPC:-OFF}" in
ON) options="$options -DGGML_RPC=ON" ;;
OFF) ;;
*)
    echo "GGML_RPC must be ON or OFF, not $GGML_RPC" >&2
    exit 1
    ;;
esac

header="$(pwd)/deploy/amx_tile_config.h"
CFLAGS="${CFLAGS:-} -include $header"
CXXFLAGS="${CXXFLAGS:-} -include $header"
CMAKE_ARGS="$(echo $options ${CMAKE_EXTRA:-})"
# pip's cache could hold a wheel that was built with other options.
PIP_NO_CACHE_DIR=1
export CFLAGS CXXFLAGS CMAKE_ARGS PIP_NO_CACHE_DIR
python3 deploy/install_llama.py "$1"

# A wheel can't hold links, so it has a copy of each library under each of its names.
cd "$(python3 -c 'import sysconfig; print(sysconfig.get_path("platlib"))')/llama_cpp/lib"
if [ -n "$architectures" ] && [ ! -e libggml-cuda.so ]; then
    echo "llama.cpp was built without CUDA" >&2
    exit 1
fi
if [ "${GGML_RPC:-OFF}" = ON ] && [ ! -e libggml-rpc.so ]; then
    echo "llama.cpp was built without RPC" >&2
    exit 1
fi
strip --strip-unneeded ./*.so*
for file in ./*.so.*.*.*; do
    [ -e "$file" ] || continue
    stem="${file%%.so.*}"
    for name in "$stem".so "$stem".so.?; do
        ln -sf "$file" "$name"
    done
done
