import { type Bytes, concatBytes, decodeCbor, equalBytes, fromHex, toHex, utf8 } from '@millrace/base';
import { certificatePage, checkCertificate, readCertificatePage } from '@millrace/client';
import { keyId, parseSign1, sign1 } from '@millrace/identity';
import { certify, INSTALLATION, logKeyOf, makeKeys, makeStory } from '@millrace/testkit/client/certified';
import { encodeLoosely, mutateValue } from '@millrace/testkit/fuzz/mutate';
import type { Target } from '@millrace/testkit/fuzz/target';

/** Documents in a certificate from a forger's own log. An input is the number of a document, and the document. */
export async function certificateTargets(): Promise<Target[]> {
  const keys = makeKeys();
  const { events, object } = await makeStory(keys);
  const trust = { logKey: logKeyOf(keys), owner: keys.owner.publicKey, authority: keys.admin.publicKey };
  const places = events.flatMap(({ evidence = [] }, at) =>
    evidence.map((document, place) => ({ at, place, document: new Uint8Array(document) })),
  );
  const samples = places.map(({ document }, number) => concatBytes(Uint8Array.of(number), document));
  const placeOf = (input: Uint8Array) => places[(input[0] ?? 0) % places.length] ?? fail();

  const decode = async (input: Bytes) => {
    const { at, place } = placeOf(input);
    const forged = events.map((event, i) =>
      i === at ? { ...event, evidence: (event.evidence ?? []).with(place, input.slice(1)) } : event,
    );
    return checkCertificate(await certify(keys, forged, object), trust);
  };
  const { admin, owner, holder, machine, permit } = keys;
  /** Undefined for the design's core, which is not signed. */
  const signerOf = (document: Uint8Array) => {
    if (!isSigned(document)) return undefined;
    const id = parseSign1(document).keyId;
    return [admin, owner, holder, machine, permit].find(({ publicKey }) => equalBytes(keyId(publicKey), id)) ?? fail();
  };
  const page = certificatePage({
    certificate: await certify(keys, events, object),
    trust: { logKeys: [logKeyOf(keys)], authority: toHex(keys.admin.publicKey), witnesses: [] },
    ...{ script: 'void 0', title: 'Part', code: '' },
  });
  return [
    {
      name: 'page of a certificate',
      samples: [utf8(page)],
      cost: 'middling',
      codes: ['E_CERTIFICATE'],
      decode: readCertificatePage,
      accepts: 'any',
    },
    {
      name: 'document in a certificate',
      samples,
      cost: 'dear',
      // E_INPUT: the log accepts no empty evidence.
      codes: ['E_EVIDENCE', 'E_INPUT', 'E_TOO_LARGE'],
      decode,
      accepts: (_, input) => equalBytes(placeOf(input).document, input.slice(1)),
    },
    {
      name: 'document in a certificate, signed by the right key',
      samples: [],
      make: async (random) => {
        const number = random.below(places.length);
        const document = placeOf(Uint8Array.of(number)).document;
        const signer = signerOf(document);
        // The licence signs the hash of the design's core.
        if (signer === undefined)
          return concatBytes(Uint8Array.of(number), encodeLoosely(mutateValue(decodeCbor(document, 'core'), random)));
        const body = mutateValue(decodeCbor(parseSign1(document).payload, 'document'), random);
        const label = signer === permit ? 'permit' : signer === machine ? 'machine document' : 'transaction';
        const context = concatBytes(utf8(`millrace/v1/${label}/`), fromHex(INSTALLATION));
        const signed = await sign1(signer, keyId(signer.publicKey), encodeLoosely(body), context);
        return concatBytes(Uint8Array.of(number), signed);
      },
      cost: 'dear',
      codes: ['E_EVIDENCE', 'E_TOO_LARGE'],
      decode,
      // The signer may choose terms that the log does not contain.
      accepts: 'any',
    },
  ];
}

/** Whether the document is a COSE_Sign1 (RFC 9052, tag 18). */
const isSigned = (document: Uint8Array) => document[0] === 0xd2;

function fail(): never {
  throw new Error('no such document');
}
