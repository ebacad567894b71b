"""What sslyze says of the server's TLS, held against Mozilla's "intermediate" recommendation.

    tls_judge.py PORT explicit|implicit

Prints each finding; ends with 1 when one is not expected, or an expected one is missing.
"""

import re
import subprocess
import sys

# What remains with the self-signed certificate of a first start, and why.
EXPECTED = {
    "certificate_path_validation": "nobody signed it: its fingerprint is told at the start instead",
    "maximum_certificate_lifespan": "ten years: nobody renews a certificate that clients have pinned",
}


def main():
    port, mode = sys.argv[1:]
    command = [sys.executable, "-m", "sslyze", f"127.0.0.1:{port}"]
    if mode == "explicit":
        command[3:3] = ["--starttls", "ftp"]
    report = subprocess.run(command, capture_output=True, text=True, timeout=300).stdout
    verdict = report.partition("COMPLIANCE AGAINST TLS CONFIGURATION")[2]
    found = dict(re.findall(r"^ +\* (\w+): (.*)$", verdict, re.MULTILINE))
    # Outside Mozilla's list: known attacks.
    vulnerable = re.findall(r"^.*\b(?:VULNERABLE|INSECURE) - .*$", report, re.MULTILINE)
    for name, text in found.items():
        print(f"{name}: {text} ({EXPECTED.get(name, 'not expected')})")
    print("\n".join(vulnerable))
    if "SCANS COMPLETED" not in report or not verdict or found.keys() != EXPECTED.keys() or vulnerable:
        print(report)
        sys.exit(1)


main()
