#!/usr/bin/env bash
# Lines that were compressed by pzstd are read as nothing, without an error, by two of python-zstandard's readers.
#
# Versions:  pzstd 1.5.4 (Debian 12, zstd 1.5.4+dfsg2-5), zstandard 0.25.0 for Python.
# Behaviour: pzstd, the parallel tool of the zstd package, begins its files with a skippable frame, also small ones.
#            `read_to_iter` and `decompressobj` take the end of that frame for the end of the data and return b"";
#            `decompress` fails ("decompressed 0 bytes; expected 4": the skippable frame's length), `stream_reader` and
#            `zstandard.open` read all. So the same archive of NDJSON is complete, empty or an error, by the call.
# Seen on 2026-11-27, two lines of 8 bytes:
#   zstd -dc: 16 bytes
#   stream_reader: 16 bytes
#   open: 16 bytes
#   read_to_iter: 0 bytes
#   decompressobj: 0 bytes, eof True, 29 bytes unused
#   decompress: ZstdError: decompression error: decompressed 0 bytes; expected 4
# Exits with 1 if that changes. Needs Debian's apt-get and dpkg, and python3 with venv.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

apt-get download --quiet=2 -o APT::Sandbox::User=root zstd=1.5.4+dfsg2-5
dpkg-deb --extract zstd_*.deb root
python3 -m venv venv
venv/bin/pip install --quiet --only-binary :all: zstandard==0.25.0

printf '{"n":1}\n{"n":2}\n' > lines
root/usr/bin/pzstd --quiet lines -o lines.zst

cat > run.py <<'PY'
import io
import zstandard

data = open("lines.zst", "rb").read()
plain = zstandard.ZstdDecompressor()

print(f"stream_reader: {len(plain.stream_reader(io.BytesIO(data)).read())} bytes")
print(f"open: {len(zstandard.open('lines.zst', 'rb').read())} bytes")
print(f"read_to_iter: {sum(map(len, plain.read_to_iter(io.BytesIO(data))))} bytes")
reader = plain.decompressobj()
size = len(reader.decompress(data))
print(f"decompressobj: {size} bytes, eof {reader.eof}, {len(reader.unused_data)} bytes unused")
try:
    print(f"decompress: {len(zstandard.decompress(data))} bytes")
except zstandard.ZstdError as e:
    print(f"decompress: ZstdError: {e}")
PY

cat > expected <<'TEXT'
zstd -dc: 16 bytes
stream_reader: 16 bytes
open: 16 bytes
read_to_iter: 0 bytes
decompressobj: 0 bytes, eof True, 29 bytes unused
decompress: ZstdError: decompression error: decompressed 0 bytes; expected 4
TEXT

{
    echo "zstd -dc: $(root/usr/bin/zstd --quiet -dc lines.zst | wc -c) bytes"
    venv/bin/python run.py
} | tee seen
diff expected seen && echo 'as found'
