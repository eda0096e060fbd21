// Event types that the order service may publish and the payment service consumes, and no order uses: what does their number cost?
import { orderCreated } from '@warren/contracts';

/** As many as `EVENT_TYPES` says, `order.created` among them. Default: that one alone. */
export const moreEvents: (typeof orderCreated)[] = Array.from(
  { length: Number(process.env.EVENT_TYPES ?? 1) - 1 },
  (_, index) => {
    const type = `order.other${index + 1}`;
    return { ...orderCreated, type, routingKey: `${type}.v1`, dataschema: `urn:warren:${type}:v1` };
  },
);
