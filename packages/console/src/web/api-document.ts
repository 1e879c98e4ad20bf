import type { OpenApi } from '@millrace/api';
import { type ErrorCode, errorCodes } from '@millrace/base';

// What the page of the API shows, read from the OpenAPI document that the server serves.

/** The parts of JSON Schema that zod writes. */
export interface Schema {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly additionalProperties?: boolean | Schema;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly format?: string;
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly maxItems?: number;
  readonly default?: unknown;
  readonly description?: string;
}

interface Media {
  /** A stream of events has no schema. */
  readonly content?: Readonly<Record<string, { readonly schema?: Schema }>>;
}

interface Operation {
  readonly operationId: string;
  readonly summary: string;
  readonly 'x-callers': readonly string[];
  readonly security: readonly Readonly<Record<string, readonly string[]>>[];
  readonly parameters?: readonly {
    readonly name: string;
    readonly in: string;
    readonly required: boolean;
    readonly schema: Schema;
  }[];
  readonly requestBody?: Media;
  readonly responses: Readonly<Record<string, Media & { readonly description: string }>>;
}

/** A field of a request or an answer. Fields inside others have names such as `items[].print`. */
export interface FieldRow {
  readonly name: string;
  readonly type: string;
  readonly required: boolean;
  readonly description: string | undefined;
}

export interface BodyShape {
  readonly media: string;
  readonly fields: readonly FieldRow[];
  /** Type of what has no fields. */
  readonly type: string;
}

export interface ApiRoute {
  /** "prints.list". */
  readonly name: string;
  /** "prints". */
  readonly group: string;
  readonly method: string;
  readonly path: string;
  readonly summary: string;
  readonly callers: readonly string[];
  /** Scopes of API tokens, one of which is enough; `any`, or `none` if no token may call. */
  readonly scopes: readonly string[] | 'any' | 'none';
  readonly parameters: readonly (FieldRow & { readonly in: string })[];
  readonly body: BodyShape | undefined;
  readonly answer: BodyShape | undefined;
  /** Whether the answer may be empty (204). */
  readonly mayBeEmpty: boolean;
  readonly errors: readonly { readonly code: ErrorCode; readonly status: string; readonly meaning: string }[];
  /** A request for a shell. */
  readonly example: string;
}

const methods = ['get', 'post', 'put', 'delete'];

/** The routes of a document, by group and path. */
export function routesOfDocument({ paths }: Pick<OpenApi, 'paths'>): ApiRoute[] {
  return Object.entries(paths)
    .flatMap(([path, operations]) =>
      methods.flatMap((method) =>
        operations[method] === undefined ? [] : [routeOf(path, method, operations[method] as Operation)],
      ),
    )
    .sort((a, b) => a.group.localeCompare(b.group) || a.path.localeCompare(b.path));
}

function routeOf(path: string, method: string, operation: Operation): ApiRoute {
  const { operationId, summary, parameters = [], requestBody, responses } = operation;
  const shown = parameters.map(({ name, in: where, required, schema }) => ({
    ...{ name, in: where, required, type: typeOf(schema), description: schema.description },
  }));
  return {
    name: operationId,
    group: operationId.split('.')[0] ?? operationId,
    method: method.toUpperCase(),
    path,
    summary,
    callers: operation['x-callers'],
    scopes: scopesOf(operation),
    parameters: shown,
    body: bodyOf(requestBody),
    answer: bodyOf(responses[200]),
    mayBeEmpty: responses[204] !== undefined,
    errors: Object.entries(responses).flatMap(([status, { description }]) =>
      Number(status) < 400 ? [] : description.split(', ').map((code) => errorOf(code as ErrorCode, status)),
    ),
    example: exampleOf(path, method, operation),
  };
}

function errorOf(code: ErrorCode, status: string) {
  return { code, status, meaning: errorCodes[code].meaning };
}

function scopesOf({ security }: Operation): ApiRoute['scopes'] {
  const tokens = security.flatMap(({ token }) => (token === undefined ? [] : [token]));
  if (tokens.length === 0) return 'none';
  return tokens.some((scopes) => scopes.length === 0) ? 'any' : tokens.flat();
}

function bodyOf(media: Media | undefined): BodyShape | undefined {
  const [first] = Object.entries(media?.content ?? {});
  if (first === undefined) return undefined;
  const [name, { schema = { type: 'string' } }] = first;
  return { media: name, fields: fieldsOf(schema), type: typeOf(schema) };
}

/** The fields of a schema and of what is inside it. */
export function fieldsOf(schema: Schema, prefix = ''): FieldRow[] {
  if (schema.items !== undefined) return fieldsOf(schema.items, `${prefix}[]`);
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices !== undefined) return onlyOnce(choices.flatMap((choice) => fieldsOf(choice, prefix)));
  return Object.entries(schema.properties ?? {}).flatMap(([key, field]) => {
    const name = prefix === '' ? key : `${prefix}.${key}`;
    const required = schema.required?.includes(key) === true;
    return [{ name, type: typeOf(field), required, description: field.description }, ...fieldsOf(field, name)];
  });
}

function onlyOnce(rows: readonly FieldRow[]): FieldRow[] {
  return [...new Map(rows.map((row) => [row.name, row])).values()];
}

/** Type of a value in words, with its limits. */
export function typeOf(schema: Schema): string {
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum !== undefined) return schema.enum.map((value) => JSON.stringify(value)).join(' | ');
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices !== undefined) return [...new Set(choices.map(typeOf))].join(' | ');
  if (schema.items !== undefined) return `${bracketed(typeOf(schema.items))}[]`;
  return [
    schema.format === undefined ? (schema.type ?? 'any') : `${schema.type} (${schema.format})`,
    ...limitsOf(schema),
  ]
    .filter((part) => part !== '')
    .join(', ');
}

const bracketed = (type: string) => (/[ |]/.test(type) ? `(${type})` : type);

function limitsOf({ minimum, maximum, maxLength, pattern }: Schema): string[] {
  return [
    minimum === undefined || minimum === Number.MIN_SAFE_INTEGER ? '' : `≥ ${minimum}`,
    maximum === undefined || maximum === Number.MAX_SAFE_INTEGER ? '' : `≤ ${maximum}`,
    maxLength === undefined ? '' : `≤ ${maxLength} characters`,
    pattern === undefined ? '' : `/${pattern}/`,
  ];
}

const HOST = 'guest.millrace.invalid';

/** A request as somebody types it. Control's certificate has the name; the connection goes to control's address. */
function exampleOf(path: string, method: string, operation: Operation): string {
  const { parameters = [], requestBody, security } = operation;
  const query = parameters.filter(({ in: where, required }) => where === 'query' && required);
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => name.toUpperCase());
  const url = `https://${HOST}:7601${filled}${query.length === 0 ? '' : '?'}${query.map(({ name }) => `${name}=${name.toUpperCase()}`).join('&')}`;
  const isGuest = security.some((way) => Object.keys(way).length === 0);
  const hasToken = security.some(({ token }) => token !== undefined);
  const [media, content] = Object.entries(requestBody?.content ?? {})[0] ?? [];
  const lines = [
    `curl --cacert authority.pem --connect-to ${HOST}:7601:CONTROL-HOST:7601`,
    ...(hasToken ? ['-H "Authorization: Bearer $MILLRACE_TOKEN"'] : []),
    ...(hasToken || isGuest ? [] : ['--cert tls.crt.pem --key tls.key.pem']),
    ...(method === 'get' ? [] : [`-X ${method.toUpperCase()}`]),
    ...parameters.flatMap(({ in: where, required, name }) =>
      where === 'header' && required ? [`-H ${quoted(`${name}: ${name.toUpperCase()}`)}`] : [],
    ),
    ...(media === undefined ? [] : [`-H ${quoted(`Content-Type: ${media}`)}`]),
    ...(content === undefined
      ? []
      : media === 'application/json'
        ? [`-d ${quoted(JSON.stringify(sampleOf(content.schema ?? {})))}`]
        : ['--data-binary @FILE']),
    quoted(url),
  ];
  return lines.join(' \\\n  ');
}

/** For a POSIX shell. */
export const quoted = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;

/** The smallest value of a schema; "…" stands for a text that the caller knows. */
function sampleOf(schema: Schema): unknown {
  if (schema.const !== undefined) return schema.const;
  if (schema.enum !== undefined) return schema.enum[0];
  const [choice] = schema.anyOf ?? schema.oneOf ?? [];
  if (choice !== undefined) return sampleOf(choice);
  if (schema.items !== undefined) return [sampleOf(schema.items)];
  switch (schema.type) {
    case 'object':
      return Object.fromEntries(
        (schema.required ?? []).map((key) => [key, sampleOf(schema.properties?.[key] ?? {})] as const),
      );
    case 'array':
      return [];
    case 'integer':
    case 'number':
      return Math.max(0, schema.minimum ?? 0);
    case 'boolean':
      return false;
    default:
      return '…';
  }
}
