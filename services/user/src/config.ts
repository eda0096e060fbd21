import { port } from '@warren/chassis';

export interface UserConfig {
  PORT: number;
  ADMIN_PORT: number;
}

export const config = {
  PORT: port(3001),
  ADMIN_PORT: port(9001),
};
