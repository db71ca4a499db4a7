"""Makes the wheel of torch importable without CUDA's libraries, which weigh 2 GB and which a CPU never calls.

python cuda_stand_ins.py TORCH_FOLDER OUT_FOLDER

torch's wheel links cuBLAS, cuDNN, NCCL and others even where there is no GPU. This compiles one small library that defines every symbol that torch
wants of them, and gives it all their names: with OUT_FOLDER in LD_LIBRARY_PATH, `import torch` works. Calling such a symbol aborts. Libraries that the
machine really has go first, because torch's own search path does. Needs gcc, nm and readelf, which the build needs as well.
"""

import re
import subprocess
import sys
from pathlib import Path


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def torch_libraries(torch):
    found = sorted((torch / "lib").glob("*.so*")) + sorted((torch.parent / "nvidia").glob("**/*.so*"))
    # libcaffe2_nvrtc is opened only where there is a GPU, and is the one that wants the driver.
    return [file for file in found if file.is_file() and "caffe2_nvrtc" not in file.name]


def missing_names(libraries):
    """The names of libraries that torch's want and that neither torch nor the system's C libraries are."""
    here = {file.name for file in libraries}
    system = re.compile(r"^(libc|libm|libdl|librt|libpthread|libstdc\+\+|libgcc_s|libutil|libatomic|ld-linux.*|libgomp)\.so")
    wanted = set()
    for file in libraries:
        wanted |= set(re.findall(r"\(NEEDED\).*\[(.+)\]", output("readelf", "-d", str(file))))
    return sorted(name for name in wanted if name not in here and not system.match(name))


def wanted_symbols(libraries, names):
    """{version: symbols}; the version is "" for a symbol without one. What torch's libraries define themselves is left out."""
    defined, wanted = set(), set()
    for file in libraries:
        defined |= {line.split()[-1].split("@")[0] for line in output("nm", "-D", "--defined-only", str(file)).splitlines() if line}
        wanted |= {line.split()[-1] for line in output("nm", "-D", "--undefined-only", str(file)).splitlines() if " U " in line}
    prefixes = re.compile(r"^(nccl|cuFile|curand|cusparseLt|cusolver|nvshmem|cu[A-Z]|cublas|cudnn|cufft|cusparse|nvml|nvrtc|cupti)")
    symbols = {}
    for entry in wanted:
        name, _, version = entry.partition("@")
        version = version.lstrip("@")
        mine = version in names or version == "NVSHMEM" or (not version and prefixes.match(name) and name not in defined)
        if mine:
            symbols.setdefault(version, set()).add(name)
    return symbols


def write_library(symbols, names, out):
    out.mkdir(parents=True, exist_ok=True)
    source, script, library = out / "stand_ins.c", out / "stand_ins.map", out / "libcuda_stand_ins.so"
    every = sorted(set().union(*symbols.values()))
    source.write_text("#include <stdlib.h>\n" + "".join(f"void {name}(void) {{ abort(); }}\n" for name in every))
    # A symbol has one version; those without one stay outside the script, which makes them visible as they are.
    script.write_text("".join(f"{version} {{ {' '.join(f'{name};' for name in sorted(members))} }};\n" for version, members in sorted(symbols.items()) if version))
    subprocess.run(["gcc", "-shared", "-fPIC", "-O0", "-w", "-fno-builtin", f"-Wl,--version-script={script}", "-o", str(library), str(source)], check=True)
    for name in names:
        link = out / name
        link.unlink(missing_ok=True)
        link.symlink_to(library.name)


def main():
    torch, out = Path(sys.argv[1]), Path(sys.argv[2])
    libraries = torch_libraries(torch)
    names = missing_names(libraries)
    if names:
        write_library(wanted_symbols(libraries, names), names, out)
    print(f"{len(names)} stand-ins: {' '.join(names)}")


if __name__ == "__main__":
    main()
