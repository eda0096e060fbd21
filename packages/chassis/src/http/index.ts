export { type Admin, createAdmin } from './admin.ts';
export { createHttp, type Http, type HttpOptions } from './app.ts';
export {
  created,
  del,
  get,
  noContent,
  patch,
  post,
  put,
  type Read,
  Reply,
  type RequestParts,
  type Route,
  type RouteOptions,
  reply,
} from './routes.ts';
