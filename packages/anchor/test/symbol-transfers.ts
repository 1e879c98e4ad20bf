import { fromHex } from '@millrace/base';

/**
 * Signed transfers by symbol-sdk 3.3.2: `facade.transactionFactory.create({ type: 'transfer_transaction_v1', … })`,
 * `signTransaction`, `attachSignature`, `serialize` and `hashTransaction`, for keys of repeated bytes.
 */
export const SYMBOL_TRANSFERS = [
  {
    network: 0x68,
    generationHashSeed: fromHex('57f7da205008026c776cb6aed843393f04cd458e0aa2d9f1d5f31a402072b2d6'),
    secret: new Uint8Array(32).fill(0x01),
    signer: fromHex('8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c'),
    recipientKey: fromHex('8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c'),
    recipient: 'NCMYMRUAHAWBUORT3JALSNOJF7PHD7IEYTU4ZUA',
    message: '\0millrace-anchor/1 abababababababababababababababababababababababababababababababab',
    fee: 24300n,
    deadline: 7200000n,
    bytes: fromHex(
      'f30000000000000047941369e04cdb92e724dd6e90130ceca4eb54b676dc8b93e6b669eca7384dde879df8ca01d5d0017c8f' +
        '6f11cbce1ae2728d709e9b019d7246b57acb14885c0a8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801' +
        'b40f6f5c0000000001685441ec5e00000000000000dd6d00000000006899864680382c1a3a33da40b935c92fde71fd04c4e9' +
        'ccd05300000000000000006d696c6c726163652d616e63686f722f3120616261626162616261626162616261626162616261' +
        '62616261626162616261626162616261626162616261626162616261626162616261626162616261626162',
    ),
    hash: 'b1fcda31009fed9d1abd9770792387f23654e2914d4426c0d4b07a13b4c05ce6',
  },
  {
    network: 0x98,
    generationHashSeed: fromHex('49d6e1ce276a85b70eafe52349aacca389302e7a9754bcf1221e79494fc665a4'),
    secret: new Uint8Array(32).fill(0xc5),
    signer: fromHex('2db797636e323ed576e9b0e03e27cb92171a896b63e9186f0d4a43b9c7d382d1'),
    recipientKey: fromHex('8139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b394'),
    recipient: 'TDA4OHMWS6IJYMBYP574NKB7IU4PH6BXCLQAVOY',
    message: '\0millrace-anchor/1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef',
    fee: 72623859790382856n,
    deadline: 1230066625199609624n,
    bytes: fromHex(
      'f300000000000000bbf524d061434b97605dff758eb1e99383fc01442071fd8e2475c32b8888dd46c0ee73fb979f026c764d' +
        '4a28221852043f6351b63e8b7c72f50b9fb12f7e5e0a2db797636e323ed576e9b0e03e27cb92171a896b63e9186f0d4a43b9' +
        'c7d382d100000000019854410807060504030201181716151413121198c1c71d9697909c30387f7fc6a83f4538f3f83712e0' +
        '0abb5300000000000000006d696c6c726163652d616e63686f722f3120303132333435363738396162636465663031323334' +
        '35363738396162636465663031323334353637383961626364656630313233343536373839616263646566',
    ),
    hash: 'd5554fe68423c4d082acf19cdb2f0086d22519c1233316f4bba40f4ad0d18230',
  },
];
