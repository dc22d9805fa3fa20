#!/bin/sh
# run.sh FOLDER COMMAND...: runs it with the emulated driver and toolkit that `make OUT=FOLDER` built.
# The switches of src/*.cpp are environment variables: EMU_STATS=1 run.sh ...
folder=$(cd "$1" && pwd) || exit 1
shift
export PATH="$(echo "$folder"/cuda-*/bin):$PATH"
export LD_LIBRARY_PATH="$folder/driver"
export OPENBLAS_NUM_THREADS="${OPENBLAS_NUM_THREADS:-1}"
exec "$@"
