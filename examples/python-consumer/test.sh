#!/bin/sh
# The tests, types and lint. If Python is missing, all of them are skipped, with the reason; in CI that is a failure.
# Ignores its arguments, which scripts/test.ts gives to mocha.
cd "$(dirname "$0")" || exit 1
reason=$(./python.sh -c '' 2>&1)
code=$?
if [ "$code" -eq 3 ] && [ -z "${CI:-}${REQUIRE_PYTHON:-}" ]; then
  echo "skipped: $reason"
  [ -z "${WARREN_TEST_TOTALS:-}" ] ||
    echo '{"passes": 0, "failures": 0, "pending": 1, "failed": [], "times": []}' >"$WARREN_TEST_TOTALS"
  exit 0
fi
[ "$code" -eq 0 ] || {
  echo "$reason" >&2
  exit 1
}
exec ./python.sh -m pytest
