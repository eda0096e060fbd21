// The parts of OpenAPI that the chassis generates.

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
  '**Authentication is off (AUTH=off):** every request is accepted without a token, also where this document requires one.';
export const OPENAPI = '3.1.0';
export const DESCRIPTION = `Bodies are JSON. A request may contain only the fields and query parameters that are documented here. A response may gain fields
in a later version: ignore fields that you do not know. Every error response is a problem (RFC 9457) with a stable \`code\`.
Every GET route also accepts HEAD.`;
