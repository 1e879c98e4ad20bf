import { z } from 'zod';
import * as schemas from './schemas.ts';

const json = (schema: z.ZodType) => ({
  content: { 'application/json': { schema: z.toJSONSchema(schema, { io: 'input' }) } },
});
const binary = { content: { 'application/octet-stream': { schema: { type: 'string', format: 'binary' } } } };
const text = { content: { 'text/plain': { schema: { type: 'string' } } } };

function operation(summary: string, answer: object, body?: z.ZodType, parameters: readonly string[] = []) {
  return {
    summary,
    ...(body === undefined ? {} : { requestBody: { required: true, ...json(body) } }),
    ...(parameters.length === 0
      ? {}
      : { parameters: parameters.map((name) => ({ name, in: 'path', required: true, schema: { type: 'string' } })) }),
    responses: {
      200: { description: 'done', ...answer },
      default: { description: 'one coded error', ...json(schemas.errorAnswer) },
    },
  };
}

/** One page of a list. */
function list(summary: string, schema: z.ZodType) {
  const { properties = {} } = z.toJSONSchema(schemas.pageQuery, { io: 'input' });
  const parameters = Object.entries(properties).map(([name, schema]) => ({ name, in: 'query', schema }));
  return { ...operation(summary, json(schemas.pageOf(schema))), parameters };
}

const anything = json(z.looseObject({}));

/** The API for users, in OpenAPI 3.1; kept beside the routes and compared with them by a test. */
export const openApi = {
  openapi: '3.1.0',
  info: {
    title: 'Millrace control node',
    version: '0.1.0',
    description:
      'Mutual TLS 1.3: the caller’s certificate says who it is. What changes something is a signed transaction.',
  },
  paths: {
    '/v1/directory': { get: operation('newest directory, as the administrator signed it', anything) },
    '/v1/openapi.json': { get: operation('this document', anything) },
    '/v1/transactions': {
      post: operation('carry out a signed transaction', json(schemas.transactionAnswer), schemas.transactionBody),
    },
    '/v1/designs': { get: list('own designs', schemas.designAnswer) },
    '/v1/designs/{id}': { get: operation('one design', json(schemas.designAnswer), undefined, ['id']) },
    '/v1/designs/{id}/private': {
      get: operation('what the owner sealed to itself', binary, undefined, ['id']),
    },
    '/v1/designs/{id}/ticket': {
      get: operation('what lets the owner upload segments', json(schemas.ticketAnswer), undefined, ['id']),
    },
    '/v1/designs/{id}/uploaded': {
      post: operation('every segment is uploaded', json(schemas.designAnswer), undefined, ['id']),
    },
    '/v1/designs/{id}/repair': {
      post: operation(
        'store sealed segments again that are uploaded once more',
        json(schemas.repairAnswer),
        schemas.repairBody,
        ['id'],
      ),
    },
    '/v1/licences': { get: list('licences granted or held', schemas.licenceAnswer) },
    '/v1/licences/{id}': { get: operation('one licence', json(schemas.licenceAnswer), undefined, ['id']) },
    '/v1/machines': { get: list('registered machines', schemas.machineAnswer) },
    '/v1/prints': { get: list('prints of own designs or licences', schemas.printAnswer) },
    '/v1/prints/{id}': { get: operation('one print, with live figures', json(schemas.printAnswer), undefined, ['id']) },
    '/v1/objects': { get: list('objects of own designs or licences', schemas.objectAnswer) },
    '/v1/objects/{id}': { get: operation('life of one object', json(schemas.objectAnswer), undefined, ['id']) },
    '/v1/objects/{id}/certificate': {
      get: operation('portable certificate, spec/ledger.md', binary, undefined, ['id']),
    },
    '/v1/ledger/checkpoint': { get: operation('newest signed checkpoint (C2SP)', text) },
    '/v1/ledger/tile/*': { get: operation('tiles and entry bundles (C2SP tlog-tiles)', binary, undefined, ['*']) },
    '/v1/ledger/verify': { get: operation('replay the whole log', anything) },
    '/v1/vault/checks': { post: operation('begin a check of the vault', anything, schemas.vaultCheckBody) },
    '/v1/vault/checks/{id}': { get: operation('state and findings of a check', anything, undefined, ['id']) },
    '/v1/boxes/{node}/{use}': {
      get: operation('newest key of a node to seal to, signed by it', binary, undefined, ['node', 'use']),
    },
    '/v1/status': { get: operation('nodes and maintenance', anything) },
  },
} as const;
