// Names and limits of 3MF Secure Content 1.0.3 (3MF Consortium) and of the package that we put into it.

export const NAMESPACE = {
  contentTypes: 'http://schemas.openxmlformats.org/package/2006/content-types',
  relationships: 'http://schemas.openxmlformats.org/package/2006/relationships',
  core: 'http://schemas.microsoft.com/3dmanufacturing/core/2015/02',
  secureContent: 'http://schemas.microsoft.com/3dmanufacturing/securecontent/2019/04',
  encryption: 'http://www.w3.org/2001/04/xmlenc#',
} as const;

export const RELATIONSHIP = {
  model: 'http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel',
  keyStore: 'http://schemas.microsoft.com/3dmanufacturing/2019/04/keystore',
  encryptedFile: 'http://schemas.openxmlformats.org/package/2006/relationships/encryptedfile',
  mustPreserve: 'http://schemas.openxmlformats.org/package/2006/relationships/mustpreserve',
  /** From the model part to a job package. */
  job: 'urn:millrace:3mf:job-package:1',
} as const;

export const CONTENT_TYPE = {
  relationships: 'application/vnd.openxmlformats-package.relationships+xml',
  model: 'application/vnd.ms-package.3dmanufacturing-3dmodel+xml',
  keyStore: 'application/vnd.ms-package.3dmanufacturing-keystore+xml',
  job: 'application/vnd.millrace.job-package',
} as const;

/** Names of the parts that we write. Others' files may have different ones. */
export const PART = {
  contentTypes: '[Content_Types].xml',
  relationships: '_rels/.rels',
  model: '3D/3dmodel.model',
  modelRelationships: '3D/_rels/3dmodel.model.rels',
  keyStore: 'Secure/keystore.xml',
  job: 'Millrace/package.mrjob',
} as const;

export const ALGORITHM = {
  aes256Gcm: 'http://www.w3.org/2009/xmlenc11#aes256-gcm',
  /** RSA-OAEP with MGF1 and SHA-1. */
  rsaOaepMgf1p: 'http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p',
  rsaOaep: 'http://www.w3.org/2009/xmlenc11#rsa-oaep',
  mgf1Sha1: 'http://www.w3.org/2009/xmlenc11#mgf1sha1',
  mgf1Sha256: 'http://www.w3.org/2009/xmlenc11#mgf1sha256',
  sha1: 'http://www.w3.org/2000/09/xmldsig#sha1',
  sha256: 'http://www.w3.org/2001/04/xmlenc#sha256',
} as const;

/** The header of an encrypted part: magic, version, unused byte, length of the header (little endian). */
export const HEADER = { magic: '%3McF', bytes: 12, maxBytes: 65_536 } as const;

export const KEY_BYTES = 32;
export const IV_BYTES = 12;
export const TAG_BYTES = 16;

/** NIST SP 800-38D, section 5.2.1.1. */
export const MAX_CONTENT_BYTES = 2 ** 36 - 32;
export const MAX_PARTS = 256;
/** Of a part with XML. */
export const MAX_XML_BYTES = 1_048_576;
export const MAX_XML_ELEMENTS = 10_000;
export const MAX_XML_DEPTH = 16;
/** What was encrypted does not compress, so a high ratio is an attack. */
export const MAX_RATIO = 16;
/** Small parts may have a higher ratio. */
export const RATIO_SLACK_BYTES = 65_536;
