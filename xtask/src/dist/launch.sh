#!/bin/sh
# Starts the program of this name in libexec/ with the libtorch of a PyTorch 2.11 installation.
here=$(dirname "$(readlink -f "$0")")
if [ -n "$VAR_LIBTORCH_CUDA" ]; then
    lib=$(dirname "$VAR_LIBTORCH_CUDA")
else
    python=python3
    [ -n "$VIRTUAL_ENV" ] && python=$VIRTUAL_ENV/bin/python
    lib=$("$python" -c 'import importlib.util as u; s = u.find_spec("torch"); print(s.submodule_search_locations[0] + "/lib" if s else "")' 2>/dev/null)
fi
if [ ! -e "$lib/libtorch_cpu.so" ]; then
    echo "error: no PyTorch found: install torch 2.11.0 for python3, or set VAR_LIBTORCH_CUDA to its libtorch_cuda.so" >&2
    exit 2
fi
LD_LIBRARY_PATH="$lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export LD_LIBRARY_PATH
exec "$here/../libexec/$(basename "$0")" "$@"
