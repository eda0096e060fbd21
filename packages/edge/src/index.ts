export { type Asset, createAsset, ENCODERS } from './asset.ts';
export { refused } from './bounds.ts';
export { type EdgeConfig, edgeConfig, upstreamUrl } from './config.ts';
export { createEdge, type Destination, type EdgeOptions, type Page } from './edge.ts';
