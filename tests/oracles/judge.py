"""Has pkilint and pyca/cryptography judge certificates.

Reads JSON from standard input, a list of {"name", "certificate", "issuer"} with hexadecimal DER, and writes a
line of JSON for each certificate and tool: {"name", "tool", "findings"}. A finding is a short text that is
the same for the same fault: pkilint's severity and code, or which part pyca/cryptography could not read.
"""

import datetime
import json
import sys
import warnings

from cryptography import x509
from cryptography.x509 import verification
from pkilint import loader, validation
from pkilint.pkix import certificate, extension, name

# What pkilint says below a warning is about style.
SEVERITIES = (
    validation.ValidationFindingSeverity.WARNING,
    validation.ValidationFindingSeverity.ERROR,
    validation.ValidationFindingSeverity.FATAL,
)

PARTS = (
    "version",
    "serial_number",
    "issuer",
    "subject",
    "not_valid_before_utc",
    "not_valid_after_utc",
    "signature_algorithm_oid",
    "signature_hash_algorithm",
    "signature_algorithm_parameters",
    "extensions",
    "tbs_certificate_bytes",
)


def pkilint_validator():
    return certificate.create_pkix_certificate_validator_container(
        certificate.create_decoding_validators(
            name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS
        ),
        [
            certificate.create_issuer_validator_container([]),
            certificate.create_validity_validator_container(),
            certificate.create_subject_validator_container([]),
            certificate.create_extensions_validator_container([]),
            certificate.create_spki_validator_container([]),
        ],
    )


def pkilint(validator, der):
    try:
        read = loader.RFC5280CertificateDocumentLoader().load_der_document(der)
    except ValueError:
        return {"FATAL cannot be read"}
    found = set()
    for result in validator.validate(read.root):
        for description in result.finding_descriptions:
            finding = description.finding
            if finding.severity in SEVERITIES:
                found.add(f"{finding.severity.name} {finding.code}")
    return found


def pyca(der, issuer):
    found = set()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            read = x509.load_der_x509_certificate(der)
        except Exception:
            return {"cannot be read"}
        for part in PARTS:
            try:
                getattr(read, part)
            except Exception:
                found.add(f"{part} cannot be read")
        try:
            read.public_key()
        except Exception:
            found.add("public key cannot be read")
        authority = x509.load_der_x509_certificate(issuer)
        try:
            read.verify_directly_issued_by(authority)
        except Exception:
            found.add("not issued by its issuer")
    found.update(f"warns of {one.category.__name__}" for one in warned)
    found.update(path(read, authority))
    return found


def path(read, authority):
    """The path validation of pyca/cryptography, asked for nothing beyond what it always checks."""
    authorities = verification.ExtensionPolicy.webpki_defaults_ca()
    devices = verification.ExtensionPolicy.permit_all()
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=1)
    builder = (
        verification.PolicyBuilder()
        .store(verification.Store([authority]))
        .time(soon)
        .extension_policies(ca_policy=authorities, ee_policy=devices)
    )
    try:
        builder.build_client_verifier().verify(read, [])
    except verification.VerificationError as error:
        # What follows a colon may quote the certificate.
        return {"path: " + str(error).split("(")[0].split(":")[-1].strip()}
    except Exception as error:
        return {f"path: {type(error).__name__}"}
    return set()


def main():
    validator = pkilint_validator()
    for case in json.load(sys.stdin):
        der, issuer = (bytes.fromhex(case[part]) for part in ("certificate", "issuer"))
        judged = (("pkilint", pkilint(validator, der)), ("pyca", pyca(der, issuer)))
        for tool, findings in judged:
            line = {"name": case["name"], "tool": tool, "findings": sorted(findings)}
            print(json.dumps(line))


main()
