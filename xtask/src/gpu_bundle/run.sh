#!/usr/bin/env bash
# Runs the tests, the benchmark beside pykeops and the examples of burn-lazy on the first NVIDIA card of this
# machine. The programs need its driver only. pykeops needs a Python with its headers, PyTorch and NumPy, a C++
# compiler and NVRTC; of these, PyTorch, NumPy and NVRTC are installed by pip where they are missing.
#
#     OUT=results LIMIT=520 PYTHON=python3 ./run.sh
#
# Logs and results go to OUT; everything takes LIMIT seconds at most. A part that fails or takes too long stops no
# other; the exit status says whether one did. `./run.sh --list` only starts the programs, without a card.
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=$here/bin
limit=${LIMIT:-520}
examples="tutorial knn_digits solve"

if [[ ${1:-} == --list ]]; then
    set -e
    for tests in kernels backend; do
        printf '%s: ' "$tests"
        "$bin/$tests" --list | tail -n 1
    done
    "$bin/peers" --help >/dev/null
    for program in $examples; do
        test -x "$bin/$program"
        if ldd "$bin/$program" | grep 'not found'; then exit 1; fi
    done
    exit
fi

query=name,driver_version,compute_cap,memory.total,clocks.max.sm
if ! card=$(nvidia-smi --id=0 --query-gpu="$query" --format=csv,noheader 2>&1); then
    echo "error: no NVIDIA driver here, nvidia-smi says: $card" >&2
    exit 2
fi
out=${OUT:-results}
mkdir -p "$out"
out=$(cd "$out" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch" || exit 2
date=$(date -u +%Y-%m-%dT%H:%M:%SZ)
commit=$(cat "$here/commit")
echo "$card; commit $commit; $date" | tee "$out/summary.txt"

# The driver's library, also where the loader does not look by itself.
library() {
    ldconfig -p 2>/dev/null | awk -v name="$1" '$1 == name { print $NF; exit }'
}
driver=$(library libcuda.so.1)
for folder in /usr/local/nvidia/lib64 /usr/local/cuda/compat /usr/lib64-nvidia /usr/lib/wsl/lib; do
    if [[ -z $driver && -e $folder/libcuda.so.1 ]]; then
        driver=$folder/libcuda.so.1
        export LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    fi
done

failed=0
# part NAME SECONDS COMMAND..: runs it for so long at most, with its output in a log.
part() {
    local name=$1 seconds=$2 start=$SECONDS status=0 result=passed
    shift 2
    local left=$((limit - SECONDS))
    ((seconds < left)) || seconds=$left
    if ((seconds <= 0)); then
        result="not run, no time was left"
    else
        timeout --kill-after=5 "$seconds" "$@" >"$out/$name.log" 2>&1 || status=$?
        case $status in
        0) ;;
        124 | 137) result="stopped after $seconds s" ;;
        *) result="failed, exit status $status" ;;
        esac
    fi
    [[ $result == passed ]] || failed=1
    printf '%-16s %5d s  %s\n' "$name" $((SECONDS - start)) "$result" | tee -a "$out/summary.txt"
    [[ $result == passed ]]
}

export BURN_DEVICE=cuda BURN_LAZY_RUNTIME=cuda RUST_MIN_STACK=16777216 RUST_BACKTRACE=1

# Makes $scratch/python, which runs a Python in which pykeops finds the card and the compiler.
peer() {
    set -e
    local python=${PYTHON:-python3} pip=(-m pip install --disable-pip-version-check)
    local sees='import numpy, torch; assert torch.cuda.is_available(), "PyTorch sees no card"'
    if ! "$python" -c "$sees"; then
        echo "installing PyTorch"
        "$python" -m venv "$scratch/venv"
        python=$scratch/venv/bin/python
        "$python" "${pip[@]}" numpy torch
        "$python" -c "$sees"
    fi
    "$python" - <<'PYTHON'
import os, shutil, sysconfig
header = os.path.join(sysconfig.get_paths()["include"], "Python.h")
assert os.path.exists(header), f"pykeops needs Python's headers: no {header}"
assert shutil.which(os.environ.get("CXX", "g++")), "pykeops needs a C++ compiler: g++, or another as CXX"
PYTHON
    # Folders that may hold NVRTC, the runtime and their headers: those of the toolkit, and of wheels.
    local wheels=$scratch/wheels
    places() {
        local root
        for root in "${CUDA_PATH:-}" "${CUDA_HOME:-}" /usr/local/cuda /opt/cuda; do
            [[ -z $root ]] || printf '%s\n' "$root/$1"*
        done
        for root in $("$python" -c 'import site; print(*site.getsitepackages())') "$wheels"; do
            printf '%s\n' "$root"/nvidia/*/"$1"*
        done
    }
    gather() {
        mkdir -p "$scratch/cuda/lib" "$scratch/cuda/include"
        local folder file name
        libraries=
        while read -r folder; do
            for name in nvrtc cudart; do
                for file in "$folder/lib$name.so"*; do
                    [[ -e $file && ! -e $scratch/cuda/lib/lib$name.so ]] || continue
                    ln -s "$file" "$scratch/cuda/lib/lib$name.so"
                    libraries+=:$folder
                done
            done
        done < <(places lib)
        while read -r folder; do
            [[ ! -d $folder ]] || cp -rsn "$folder/." "$scratch/cuda/include/"
        done < <(places include)
        [[ -e $scratch/cuda/lib/libnvrtc.so && -e $scratch/cuda/lib/libcudart.so &&
            -e $scratch/cuda/include/nvrtc.h && -e $scratch/cuda/include/cuda.h ]]
    }
    if ! gather; then
        echo "installing NVRTC"
        rm -rf "$scratch/cuda"
        "$python" "${pip[@]}" --target "$wheels" \
            nvidia-cuda-nvrtc-cu12==12.9.86 nvidia-cuda-runtime-cu12==12.9.79
        gather
    fi
    ln -s "$driver" "$scratch/cuda/lib/libcuda.so"
    cat >"$scratch/python" <<WRAPPER
#!/bin/sh
export PYTHONPATH='$here/python' CUDA_PATH='$scratch/cuda'
export LIBRARY_PATH='$scratch/cuda/lib' LD_LIBRARY_PATH='$scratch/cuda/lib$libraries':"\$LD_LIBRARY_PATH"
exec '$python' "\$@"
WRAPPER
    chmod +x "$scratch/python"
    # Without a case it only compiles what all cases share.
    KEOPS_CACHE_FOLDER=$scratch/trial "$scratch/python" "$here/benches/peers/peers.py" pykeops --gpu </dev/null
}
export -f peer
export here scratch driver

part kernels 150 env CARGO_MANIFEST_DIR="$here/cube_kernels" "$bin/kernels"

export CARGO_MANIFEST_DIR=$here
arguments=(--quick --json "$out/results.jsonl")
if part pykeops 90 bash -c peer; then
    mkdir "$scratch/peers"
    arguments+=(--python "$scratch/python" --scratch "$scratch/peers")
fi
part peers 130 "$bin/peers" "${arguments[@]}"
if [[ -s $out/results.jsonl ]]; then
    # Whoever reads a row alone should know where it comes from.
    sed -i "s|^{|{\"card\":\"$card\",\"date\":\"$date\",\"commit\":\"$commit\",|" "$out/results.jsonl"
    {
        echo "Card, driver, compute capability, memory, clock: $card; burn-lazy $commit; $date;"
        echo "\`BURN_DEVICE=cuda peers ${arguments[*]/#$scratch/SCRATCH}\`"
        echo
        "$bin/xtask" bench table "$out/results.jsonl"
    } >"$out/results.md"
fi
part backend 105 "$bin/backend"
for program in $examples; do
    part "$program" 15 "$bin/$program"
done

echo "logs and results: $out"
exit $failed
