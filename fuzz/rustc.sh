#!/bin/sh
# Stands before rustc (RUSTC_WRAPPER) and puts libFuzzer's coverage into the crates that hostile input
# reaches: ours, and the readers of JSON, TOML, YAML and CEL. The rest, mostly cryptography, would only
# cost time and mislead the fuzzer. These options are stable; no sanitizer is used, since our crates
# have no unsafe code.
case "$CARGO_PKG_NAME" in
callgate | callgate-authenticators | callgate-server | callgate-fuzz) ;;
cel | granit-parser | serde-saphyr | toml | toml_parser) ;;
*) exec "$@" ;;
esac
case " $* " in
*" build_script_build "*) exec "$@" ;;
esac
exec "$@" --cfg fuzzing \
    -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares
