#!/bin/sh
# build_llama.sh REQUIREMENT: compiles llama-cpp-python and installs it in the active virtual
# environment of an image. $CPU names the CPUs (see Dockerfile), $CMAKE_EXTRA further options.
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
strip --strip-unneeded ./*.so*
for file in ./*.so.*.*.*; do
    [ -e "$file" ] || continue
    stem="${file%%.so.*}"
    for name in "$stem".so "$stem".so.?; do
        ln -sf "$file" "$name"
    done
done
