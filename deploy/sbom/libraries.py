"""Read the versions of compiled libraries inside installed wheels, from the libraries themselves if possible.

    python deploy/sbom/libraries.py    # prints a JSON list

It uses only the standard library, so the interpreter of any environment can run it.
"""

import ctypes
import importlib
import json
import platform
import re
import sqlite3
import ssl
import sys
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, files, version
from pathlib import Path
from pyexpat import EXPAT_VERSION
from typing import Any

__all__ = ["PYTHON", "Library", "installed_libraries"]

# The carrier of the libraries that come with the interpreter or with its base image.
PYTHON = "python"

_NUMBER = re.compile(r"\d+(?:\.\d+)+[a-z]?")
_TURBO = re.compile(rb"libjpeg-turbo version (\d[\w.]*)")


@dataclass(frozen=True, order=True)
class Library:
    """One compiled library; `version` is empty where the library offers no way to read it."""

    carrier: str
    name: str
    version: str


def installed_libraries() -> list[Library]:
    """List the libraries of this interpreter and of the wheels installed beside it, sorted."""
    found: set[Library] = set()
    for carrier, read in _READERS.items():
        bundled = _bundled(carrier)
        if carrier != PYTHON and bundled is None:
            continue
        versions = read()
        found |= {Library(carrier, name, number) for name, number in versions.items()}
        read_files = {_plain(_ALIASES.get(name, name)) for name in versions}
        names = {_stem(path) for path in bundled or ()}
        found |= {Library(carrier, name, "") for name in names if _plain(name) not in read_files}
    return sorted(found)


def _bundled(distribution: str) -> list[Path] | None:
    """Return the shared libraries in a wheel's `.libs` folder, None if the wheel is not installed."""
    try:
        listed = files(distribution) or []
    except PackageNotFoundError:
        return None
    return [Path(str(file.locate())) for file in listed if file.parent.suffix == ".libs" and ".so" in file.name]


def _stem(path: Path) -> str:
    """Return a library's name without the hash that auditwheel adds: libpng16-1d1ba958.so.16.58.0 is libpng16."""
    return re.sub(r"(-[0-9a-f]{6,})*\.so.*$", "", path.name)


def _plain(name: str) -> str:
    """Return a spelling that projects and their files share: libLerc and lerc, c-blosc2 and libblosc2."""
    return name.lower().removeprefix("lib").removeprefix("c-")


def _load(distribution: str, stem: str) -> Any:
    """Load a bundled library, which its wheel has usually loaded before; None if the wheel bundles none."""
    paths = [path for path in _bundled(distribution) or () if _stem(path) == stem]
    return ctypes.CDLL(str(paths[0])) if paths else None


def _libpng(distribution: str) -> str:
    library = _load(distribution, "libpng16")
    if library is None:
        return ""
    library.png_get_libpng_ver.restype = ctypes.c_char_p
    return str(library.png_get_libpng_ver(None).decode())


def _pillow() -> dict[str, str]:
    features = importlib.import_module("PIL.features")
    importlib.import_module("PIL._imaging")
    names = {"webp": "libwebp", "avif": "libavif", "jpg_2000": "openjpeg", "freetype2": "freetype"} | {
        name: name for name in ("libtiff", "littlecms2", "raqm", "fribidi", "harfbuzz", "zlib")
    }
    versions = {known: features.version(name) or "" for name, known in names.items()}
    linked = {"libjpeg-turbo": features.version("libjpeg_turbo"), "zlib-ng": features.version("zlib_ng")}
    # With zlib-ng, `zlib` is only the interface that it offers.
    dropped = {"zlib"} if linked["zlib-ng"] else set()
    # For FreeType's bitmap fonts: Pillow decodes PNG itself.
    versions["libpng"] = _libpng("pillow")
    return {name: number for name, number in (versions | linked).items() if number and name not in dropped}


def _imagecodecs() -> dict[str, str]:
    imagecodecs = importlib.import_module("imagecodecs")
    renamed = {"libjpeg_turbo": "libjpeg-turbo", "zlib_ng": "zlib-ng", "lcms2": "littlecms2", "libpng_apng": "libpng"}
    own = {"imagecodecs", "cython", "numpy", "numpy_abi", imagecodecs.__version__}
    listed = {str(name): str(text) for name, text in imagecodecs.version(dict).items()}
    return {
        renamed.get(name, name): number[0]
        for name, text in listed.items()
        if not {name, text} & own and (number := _NUMBER.match(text))
    }


def _deflate() -> dict[str, str]:
    # Linked statically, and libdeflate keeps its version in a header alone: this version is from the wheel's changelog.
    return {"libdeflate": {"0.9.0": "1.26"}.get(version("deflate"), "")}


def _simplejpeg() -> dict[str, str]:
    # Linked statically and without a call that tells: its text for error messages holds the version.
    binary = Path(str(importlib.import_module("simplejpeg._jpeg").__file__)).read_bytes()
    found = _TURBO.search(binary)
    return {"libjpeg-turbo": found[1].decode() if found else ""}


def _psycopg_binary() -> dict[str, str]:
    psycopg = importlib.import_module("psycopg")
    libpq = psycopg.pq.version()
    versions = {"libpq": f"{libpq // 10_000}.{libpq % 10_000}"}
    if (crypto := _load("psycopg-binary", "libcrypto")) is not None:
        crypto.OpenSSL_version.restype = ctypes.c_char_p
        versions["openssl"] = _first_number(crypto.OpenSSL_version(0).decode())
    return versions


def _numpy() -> dict[str, str]:
    numpy = importlib.import_module("numpy")
    blas = numpy.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {"openblas": blas["version"]}


def _uvloop() -> dict[str, str]:
    number = importlib.import_module("uvloop.loop").libuv_get_version()
    return {"libuv": f"{number >> 16}.{number >> 8 & 255}.{number & 255}"}


def _pyyaml() -> dict[str, str]:
    return {"libyaml": importlib.import_module("yaml._yaml").get_version_string()}


def _pyarrow() -> dict[str, str]:
    return {"arrow-cpp": importlib.import_module("pyarrow").cpp_version}


def _python() -> dict[str, str]:
    return {
        "cpython": platform.python_version(),
        "expat": _first_number(EXPAT_VERSION),
        "openssl": _first_number(ssl.OPENSSL_VERSION),
        "sqlite": sqlite3.sqlite_version,
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
    }


def _first_number(text: str) -> str:
    found = _NUMBER.search(text)
    return found[0] if found else ""


_READERS: Mapping[str, Callable[[], dict[str, str]]] = {
    "deflate": _deflate,
    "imagecodecs": _imagecodecs,
    "numpy": _numpy,
    "pillow": _pillow,
    "psycopg-binary": _psycopg_binary,
    "pyarrow": _pyarrow,
    "pyyaml": _pyyaml,
    PYTHON: _python,
    "simplejpeg": _simplejpeg,
    "uvloop": _uvloop,
}

# The name of the file where it is not that of the library.
_ALIASES = {
    "freetype": "libfreetype",
    "harfbuzz": "libharfbuzz",
    "libjpeg-turbo": "libjpeg",
    "libpng": "libpng16",
    "littlecms2": "liblcms2",
    "openblas": "libscipy_openblas64_",
    "openjpeg": "libopenjp2",
    "openssl": "libcrypto",
    "giflib": "libgif",
    "jxrlib": "libjpegxr",
    "libultrahdr": "libuhdr",
}


if __name__ == "__main__":
    json.dump([asdict(library) for library in installed_libraries()], sys.stdout)
