// Has matter.js judge device attestation certificates.
//
//   node judge.cjs DIRECTORY        where @matter/protocol is installed
//
// Reads JSON from standard input, a list of {name, kind, certificate, issuer} with hexadecimal DER; kind is
// Dac, Pai or Paa. Writes a line of JSON for each: {name, tool, findings}. A finding is what matter.js says, or
// that the signature or the vendor differs from the issuer's.
"use strict";

const { createRequire } = require("node:module");
const path = require("node:path");

const load = createRequire(path.join(path.resolve(process.argv[2]), "package.json"));
const { Dac, Pai, Paa } = load("@matter/protocol");
const { StandardCrypto, PublicKey, Bytes } = load("@matter/general");
const KINDS = { Dac: [Dac, Pai], Pai: [Pai, Paa], Paa: [Paa, Paa] };

async function judge(crypto, { kind, certificate, issuer }) {
    const [own, above] = KINDS[kind];
    const findings = [];
    try {
        const read = own.fromAsn1(Bytes.fromHex(certificate));
        const authority = above.fromAsn1(Bytes.fromHex(issuer));
        const key = PublicKey(authority.cert.ellipticCurvePublicKey);
        try {
            await crypto.verifyEcdsa(key, read.asUnsignedDer(), read.signature);
        } catch {
            findings.push("signature does not verify");
        }
        const [vendor, above_vendor] = [read.cert.subject.vendorId, authority.cert.subject.vendorId];
        if (vendor === undefined && kind !== "Paa") {
            findings.push("no vendor");
        }
        if (above_vendor !== undefined && vendor !== above_vendor) {
            findings.push("vendor differs from the issuer's");
        }
    } catch (error) {
        findings.push(`${error.constructor.name}: ${error.message.split("\n")[0]}`);
    }
    return findings;
}

async function main() {
    let input = "";
    for await (const chunk of process.stdin) {
        input += chunk;
    }
    const crypto = new StandardCrypto();
    for (const one of JSON.parse(input)) {
        const findings = await judge(crypto, one);
        console.log(JSON.stringify({ name: one.name, tool: "matter.js", findings }));
    }
}

main();
