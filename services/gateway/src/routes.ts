import { describeApi, get, Joi, own, type Route } from '@warren/chassis';
import { findUser, listOrders, listPayments, listSessions } from '@warren/contracts';
import manifest from '../package.json' with { type: 'json' };
import type { GatewayConfig } from './config.ts';
import { wholeApi } from './openapi.ts';
import { type Overview, overviewOf, PARTS } from './overview.ts';

const userId = Joi.string().guid({ separator: '-', wrapper: false }).lowercase().required();

const overview = Joi.object<Overview>({
  user: findUser.reply.allow(null).required(),
  sessions: listSessions.reply.extract('items').allow(null),
  orders: listOrders.reply.extract('items').allow(null),
  payments: listPayments.reply.extract('items').allow(null),
  missing: Joi.array()
    .items(Joi.valid(...PARTS))
    .required(),
});

export const routes: Route<never, GatewayConfig>[] = [
  get(
    '/overview/:userId',
    {
      access: own(({ params }) => params.userId),
      summary: 'Everything about a user',
      description:
        'Requested from the services over the broker, in parallel. A part that is not available in time is `null` and listed in `missing`. While the broker is unavailable, that is every part.',
      params: { userId },
      responses: { 200: overview, 404: Joi.valid('user_unknown') },
    },
    async ({ params }, context) => overviewOf(params.userId, context, context.config.OVERVIEW_TIMEOUT),
  ),

  get(
    '/openapi.json',
    { access: 'public', summary: 'The OpenAPI document of all services' },
    async (_request, { config }) =>
      wholeApi(config, () =>
        describeApi({
          name: 'gateway',
          version: manifest.version,
          routes,
          database: false,
          auth: config.AUTH,
        }),
      ),
  ),
];
