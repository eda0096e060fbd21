// What a service needs of the chassis.
export { Joi } from '@warren/events';
export { type Generated, type Insertable, type Kysely, type Selectable, sql, type Transaction } from 'kysely';
export { type Access, type Authorising, own } from './auth/access.ts';
export { bytes, duration, port, positiveDuration, url } from './config.ts';
export type { Logger, Origin, ScheduledTask, UnitsOfWork, WorkContext } from './context.ts';
export { ConfigError, Problem, problem, RETRY_SHORTLY, WarrenError } from './errors.ts';
export type { EdgeContext, EdgeHandler, EdgeTools } from './http/edge.ts';
export {
  CURSOR_UNKNOWN,
  type Page,
  type Paging,
  pageOf,
  paging,
  requireCursor,
  toPage,
} from './http/pages.ts';
export * from './http/routes.ts';
export { newId } from './id.ts';
export { type BrokerDefinition, defineBroker } from './messaging/broker.ts';
export type { EventHandler, Handler, Handlers } from './messaging/handlers.ts';
export type { BrokerConfig } from './messaging/rascal/rascal.ts';
export { RETRY_DELAYS } from './messaging/retry-delays.ts';
export { rascalConfig } from './messaging/topology.ts';
export { combineApis } from './openapi/combine.ts';
export { describeApi } from './openapi/describe.ts';
export type { OpenApiDocument } from './openapi/document.ts';
export { type JsonSchema, jsonSchemaOf } from './openapi/json-schema.ts';
export type { ReadContext, RequestMethod, RequestOptions } from './request/context.ts';
export type { MethodHandler, Methods } from './rpc/serve.ts';
export { ROLES_HEADER, SUBJECT_HEADER } from './rpc/wire.ts';
export { run } from './run.ts';
export { defineService, type ServiceDescription } from './service/definition.ts';
export { type RunningService, type StartOptions, start } from './service/start.ts';
export type { Task, TaskContext, Worker } from './tasks/worker.ts';
export type { CounterDefinition } from './telemetry/counters.ts';
export { seldom } from './telemetry/seldom.ts';
