// What an OpenAPI document looks like, as far as this chassis makes one.

export interface OpenApiDocument {
  openapi: string;
  info: { title: string; version: string; summary?: string; description?: string };
  servers?: { url: string; description?: string }[];
  security?: object[];
  tags?: { name: string; description?: string }[];
  paths: Record<string, Record<string, OpenApiOperation>>;
  /** By kind (`schemas`, `responses`, …), then by name. */
  components?: Record<string, Record<string, object>>;
}

export interface OpenApiOperation {
  operationId?: string;
  tags?: string[];
  summary?: string;
  description?: string;
  parameters?: object[];
  requestBody?: object;
  responses: Record<string, object>;
  security?: object[];
  [extension: `x-${string}`]: unknown;
}

export const AUTH_OFF =
  '**Authentication is off (AUTH=off):** every request is accepted without a token, whatever is said of it here.';
export const OPENAPI = '3.1.0';
export const DESCRIPTION = `Bodies are JSON. A request may hold the fields and query parameters that are named here and no others; an answer may gain
fields, so ignore those you do not know. Whatever goes wrong is answered with a problem (RFC 9457), whose \`code\` is stable.
Every GET also answers HEAD.`;
