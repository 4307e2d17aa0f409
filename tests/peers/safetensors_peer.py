"""Python's safetensors reads valence's files and valence reads Python's; what both write is the same to the last byte.

Usage: safetensors_peer.py <io_peer>      (exit 77: skipped, the packages are not installed)
"""
import json
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import safetensors
    from safetensors.numpy import load_file, save_file
except ImportError as missing:
    print(f"skipped: {missing}; `./dev peers` installs what this test compares with")
    sys.exit(77)

TOOL = pathlib.Path(sys.argv[1]).resolve()
# How the format names NumPy's types.
NAMES = {"bool": "BOOL", "uint8": "U8", "int8": "I8", "int16": "I16", "uint16": "U16", "float16": "F16", "int32": "I32",
         "uint32": "U32", "float32": "F32", "float64": "F64", "int64": "I64", "uint64": "U64", "complex64": "C64"}


def run(*arguments, good=True):
    done = subprocess.run([TOOL, *map(str, arguments)], capture_output=True, text=True, encoding="utf-8")
    assert (done.returncode == 0) == good, f"{arguments}: {done.returncode} {done.stderr}"
    return done.stdout if good else done.stderr


def metadata_of(path):
    with safetensors.safe_open(path, "numpy") as file:
        return file.metadata()


def python_reads_ours(folder):
    path = folder / "ours.safetensors"
    run("write", path)
    read = load_file(path)
    expected = {
        "net.0.weight": np.array([[1.5, -2, np.nan], [np.inf, -0.0, 1e-45]], np.float32),
        "scalar": np.array(0.1, np.float64),
        "i64": np.array([-1, 9007199254740993], np.int64),
        "u64": np.array([18446744073709551615], np.uint64),
        "i32": np.array([[[-2147483647], [7]]], np.int32),
        "u32": np.array([4294967295], np.uint32),
        "i16": np.array([-32768], np.int16),
        "u16": np.array([65535], np.uint16),
        "i8": np.array([-128, 127], np.int8),
        'u8 "quoted" ü\n': np.array([0, 255], np.uint8),
        "flags": np.array([True, False, True]),
        "empty": np.zeros((3, 0, 2), np.float32),
    }
    assert read.keys() == expected.keys(), read.keys() ^ expected.keys()
    for name, value in expected.items():
        assert read[name].dtype == value.dtype and read[name].shape == value.shape, name
        assert np.isnan(value).tobytes() == np.isnan(read[name]).tobytes(), name
        assert np.array_equal(read[name], value, equal_nan=value.dtype.kind == "f"), name
    words = metadata_of(path)
    assert words["format"] == "pt" and words["note"] == 'ü \x01 "', words
    assert words["valence.checksum"].startswith("valence-crc32c:"), words
    # Saved again by Python with the same words: the same bytes, so the checksum still holds.
    again = folder / "again.safetensors"
    save_file(read, again, metadata=words)
    assert sorted(again.read_bytes()) == sorted(path.read_bytes())
    run("describe", again)
    # Without words both write the same bytes (several words come in no fixed order from some versions of the package).
    save_file(read, again)
    run("resave", again, folder / "resaved.safetensors")
    assert (folder / "resaved.safetensors").read_bytes() == again.read_bytes()
    # A number changed and the words kept: refused.
    read["i32"] = read["i32"] + 1
    save_file(read, again, metadata=words)
    assert "checksum" in run("describe", again, good=False)


def we_read_pythons(folder):
    rng = np.random.default_rng(7)
    path, resaved = folder / "theirs.safetensors", folder / "resaved.safetensors"
    for round in range(60):
        tensors = {}
        for index in range(rng.integers(0, 8)):
            dtype = list(NAMES)[rng.integers(len(NAMES))]
            shape = tuple(rng.integers(0, 4, size=rng.integers(0, 4)))
            size = int(np.prod(shape, dtype=int)) * np.dtype(dtype).itemsize
            data = rng.integers(0, 2 if dtype == "bool" else 256, size=size, dtype=np.uint8)
            name = "".join(rng.choice(list("ab.0_ \"\\\n\tü→😀/\x1f\x7f"), size=rng.integers(0, 9))) + str(index)
            tensors[name] = np.frombuffer(data.tobytes(), dtype).reshape(shape)
        words = {"format": "pt\"\\ü"} if round % 3 == 0 else None
        save_file(tensors, path, metadata=words)
        lines = [json.loads(line) for line in run("describe", path).splitlines()]
        assert lines.pop() == {"metadata": words or {}}
        assert {line["name"] for line in lines} == tensors.keys()
        for line in lines:
            tensor = tensors[line["name"]]
            assert line["dtype"] == NAMES[tensor.dtype.name], line
            assert tuple(line["shape"]) == tensor.shape, line
            assert bytes.fromhex(line["data"]) == tensor.tobytes(), line
        run("resave", path, resaved)
        assert resaved.read_bytes() == path.read_bytes(), round


def parameters_are_pytorchs(folder):
    path = folder / "parameters.safetensors"
    run("parameters", path)
    read = load_file(path)
    # As torch.nn.Linear(3, 2) would load them: weight[output][input].
    assert read["net.0.weight"].tolist() == [[11, 12, 13], [21, 22, 23]]
    assert read["net.0.bias"].tolist() == [1, 2]


def both_refuse(folder):
    """What the package refuses, we refuse. (We refuse more: names that come twice, keys that the format does not know.)"""
    def file(header, data=b""):
        header = header if isinstance(header, bytes) else header.encode()
        return len(header).to_bytes(8, "little") + header + data

    def tensor(body, data=b""):
        return file('{"t":{' + body + "}}", data)

    bad = [b"", b"1234567", file("{}")[:9], (10**8 + 1).to_bytes(8, "little") + b"{}", file(b"\xff"), file("{"), file("{}\0"),
           file("{}", b"x"), tensor('"dtype":"U8","shape":[1],"data_offsets":[0,1]'),
           tensor('"dtype":"U8","shape":[1],"data_offsets":[1,2]', b"ab"), tensor('"dtype":"U8","shape":[2],"data_offsets":[0,1]', b"a"),
           tensor('"dtype":"F4","shape":[1],"data_offsets":[0,1]', b"a"), tensor('"dtype":"X","shape":[1],"data_offsets":[0,1]', b"a"),
           tensor('"dtype":"U8","shape":[18446744073709551615,2,0],"data_offsets":[0,0]'), file('{"__metadata__":{"a":1}}'),
           tensor('"dtype":"U8","shape":[1.0],"data_offsets":[0,1]', b"a"), tensor('"dtype":"U8","shape":[-1],"data_offsets":[0,1]', b"a"),
           tensor('"dtype":"U8","shape":[1],"data_offsets":[1,0]', b"a"), tensor('"dtype":"U8","shape":[1]', b"a")]
    good = [file("{}"), file("{}\r\t \n"), tensor('"dtype":"U8","shape":[0,18446744073709551615],"data_offsets":[0,0]'),
            tensor('"dtype":"F6_E2M3","shape":[4],"data_offsets":[0,3]', b"abc"), tensor('"dtype":"I32","shape":[],"data_offsets":[0,4]', b"abcd")]
    for content in bad + good:
        path = folder / "case.safetensors"
        path.write_bytes(content)
        try:
            safetensors.deserialize(content)
            accepted = True
        except Exception:  # noqa: BLE001 (the package's error type has changed its place)
            accepted = False
        assert accepted == (content in good), content
        run("describe", path, good=accepted)


with tempfile.TemporaryDirectory() as name:
    for check in (python_reads_ours, we_read_pythons, parameters_are_pytorchs, both_refuse):
        check(pathlib.Path(name))
        print(f"{check.__name__}: good (safetensors {safetensors.__version__})")
