// An issuer of JWTs with keys of its own. Reads a JSON list of claims; prints its JWK set, and a token for each of them.
//
// Usage: node issuer.mjs < claims.json
import { generateKeyPairSync, sign } from "node:crypto";
import { readFileSync } from "node:fs";

const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
const encoded = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

function token(claims) {
  const signed = `${encoded({ typ: "JWT", alg: "ES256", kid: "a" })}.${encoded(claims)}`;
  const signature = sign("sha256", Buffer.from(signed), { key: privateKey, dsaEncoding: "ieee-p1363" });
  return `${signed}.${signature.toString("base64url")}`;
}

const keys = [{ ...publicKey.export({ format: "jwk" }), kid: "a", alg: "ES256", use: "sig" }];
const tokens = JSON.parse(readFileSync(0, "utf8")).map(token);
console.log(JSON.stringify({ keys: { keys }, tokens }));
