import { type ErrorCode, errorCodes, PROBLEM_TYPE } from '@millrace/base/core';
import { z } from 'zod';
import type { Links } from './links.ts';
import {
  type Content,
  commonErrors,
  contentTypes,
  IDEMPOTENCY_HEADER,
  idempotencyKey,
  isWrite,
  type Route,
  type RouteTree,
  routesOf,
} from './route.ts';
import { scopesOf } from './token-scopes.ts';

/** Problem details (RFC 9457) with an error code explained in docs/errors.md. */
export const problem = z.object({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  detail: z.string(),
  code: z.enum(Object.keys(errorCodes) as [ErrorCode, ...ErrorCode[]]),
  data: z.looseObject({}),
  retryable: z.boolean(),
  remedy: z.string(),
});

const schemaOf = (schema: z.ZodType) => {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io: 'input' });
  return rest;
};

const mediaOf = (type: string) => type.split(';')[0] ?? type;

function contentOf(content: Exclude<Content, { kind: 'empty' }>): object {
  if (content.kind === 'none') return { [mediaOf(contentTypes.json)]: { schema: { type: 'object' } } };
  if (content.kind === 'json' || content.kind === 'optional')
    return { [mediaOf(contentTypes.json)]: { schema: schemaOf(content.schema) } };
  // An event stream has no schema: tools take one for the form of each event.
  if (content.kind === 'events') return { [contentTypes.events]: {} };
  const binary = content.kind === 'text' ? {} : { format: 'binary' };
  return { [mediaOf(contentTypes[content.kind])]: { schema: { type: 'string', ...binary } } };
}

function parametersOf(where: 'path' | 'query' | 'header', fields: z.ZodObject): object[] {
  return Object.entries(fields.shape).map(([name, field]) => ({
    name,
    in: where,
    required: where === 'path' || !z.safeParse(field, undefined).success,
    schema: schemaOf(field as z.ZodType),
  }));
}

const problemContent = { [PROBLEM_TYPE]: { schema: { $ref: '#/components/schemas/Problem' } } };

function refusals(codes: readonly ErrorCode[]): Record<string, object> {
  const byStatus = new Map<number, ErrorCode[]>();
  for (const code of new Set([...commonErrors, ...codes])) {
    const { http } = errorCodes[code];
    byStatus.set(http, [...(byStatus.get(http) ?? []), code]);
  }
  const answers = [...byStatus].sort(([a], [b]) => a - b);
  return Object.fromEntries(
    answers.map(([status, found]) => [status, { description: found.join(', '), content: problemContent }]),
  );
}

/** What a caller needs: nothing (guests), a certificate, or an API token with one of the scopes. */
function securityOf({ callers, action }: Route, guests: boolean): object[] {
  if (!guests) return [{ certificate: [] }];
  const scopes = callers.includes('user') ? scopesOf(action) : [];
  const tokens = scopes === 'any' ? [{ token: [] }] : scopes.map((scope) => ({ token: [scope] }));
  return [...(callers.includes('guest') ? [{}] : []), { certificate: [] }, ...tokens];
}

const certificateScheme = { type: 'mutualTLS', description: 'a certificate of the installation, see docs/sign-in.md' };
const tokenScheme = { type: 'http', scheme: 'bearer', description: 'an API token, see docs/sign-in.md' };

function operationOf(name: string, route: Route, guests: boolean): object {
  const { summary, callers, params, query, headers, body, answer, errors } = route;
  const repeats = isWrite(route) ? z.object({ [IDEMPOTENCY_HEADER]: idempotencyKey.optional() }) : z.object({});
  const parameters = [
    ...parametersOf('path', params),
    ...parametersOf('query', query),
    ...parametersOf('header', headers),
    ...parametersOf('header', repeats),
  ];
  return {
    operationId: name,
    summary,
    tags: [name.split('.')[0]],
    'x-callers': callers,
    security: securityOf(route, guests),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(body.kind === 'none' || body.kind === 'empty'
      ? {}
      : { requestBody: { required: true, content: contentOf(body) } }),
    responses: {
      ...(answer.kind === 'empty'
        ? { 204: { description: 'done' } }
        : { 200: { description: 'done', content: contentOf(answer) } }),
      ...(answer.kind === 'optional' ? { 204: { description: 'nothing to answer' } } : {}),
      ...refusals([...errors, ...(isWrite(route) ? (['E_IDEMPOTENCY'] as const) : [])]),
    },
  };
}

export interface OpenApi {
  readonly openapi: string;
  readonly info: object;
  /** By path and lower-case method. */
  readonly paths: Readonly<Record<string, Readonly<Record<string, object>>>>;
  readonly components: object;
  readonly [extension: string]: unknown;
}

export interface OpenApiOptions {
  /** WebSockets of the same node. */
  readonly links?: Links;
  /** Whether the node also serves callers without a certificate: guests, and programs with API tokens. Default: yes. */
  readonly guests?: boolean;
}

/**
 * The OpenAPI 3.1 document of the routes. "{path*}" becomes "{path}": OpenAPI cannot express that it may contain
 * slashes.
 */
export function openApiOf(
  routes: RouteTree,
  title: string,
  { links = {}, guests = true }: OpenApiOptions = {},
): OpenApi {
  const paths: Record<string, Record<string, object>> = {};
  for (const [name, route] of routesOf(routes)) {
    const path = route.path.replace('*}', '}');
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operationOf(name, route, guests) };
  }
  return {
    openapi: '3.1.0',
    info: {
      title,
      version: '0.1.0',
      description:
        'Mutual TLS 1.3: the caller’s certificate says who it is. What changes a design, licence or print is a signed ' +
        'transaction.',
    },
    paths,
    'x-websockets': Object.values(links).map(({ path, summary, callers }) => ({ path, summary, 'x-callers': callers })),
    components: {
      schemas: { Problem: schemaOf(problem) },
      securitySchemes: { certificate: certificateScheme, ...(guests ? { token: tokenScheme } : {}) },
    },
  };
}
