#!/bin/sh
# Install mlflow-gc as it is in this checkout into a virtual environment: its dependencies with the
# hashes of requirements.txt, itself from where it lies.  Nothing is built, so nothing is fetched
# that has no hash.
#
#   install.sh DIRECTORY [PYTHON]
#
# Afterwards DIRECTORY/bin/mlflow-gc starts it; the checkout has to stay where it is.
set -eu
directory=$1
python=${2:-python3}
root=$(cd "$(dirname "$0")/.." && pwd)

# What unpacks packages of others gets no setting of the server, and no credential of it.
for name in $(env | sed -n 's/^\(MLFLOW_[A-Za-z0-9_]*\)=.*/\1/p'); do
    unset "$name"
done

# Isolated (-I): a checkout or an artifact in the working directory may hold modules of any name.
"$python" -I -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
    echo "Python 3.10 or newer is needed." >&2
    exit 64
}
"$python" -I -m venv "$directory"
"$directory/bin/python" -I -m pip install --quiet --disable-pip-version-check --no-input \
    --require-hashes --only-binary :all: --requirement "$root/requirements.txt"
packages=$("$directory/bin/python" -I -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
printf '%s\n' "$root" >"$packages/mlflow-gc.pth"
program=$directory/bin/mlflow-gc
# For sh, a command that starts Python; for Python, a string and a program.  The first line of a
# script cannot name an interpreter with a space in its path.
cat >"$program" <<END
#!/bin/sh
'''exec' "$(cd "$directory" && pwd)/bin/python" -I "\$0" "\$@"
'''
import runpy

runpy.run_module("mlflow_gc", run_name="__main__")
END
chmod +x "$program"
"$program" --version
