import { Controller, Get, Param, ParseUUIDPipe, ServiceUnavailableException } from '@nestjs/common';
import { WarrenService } from '../warren/warren.service.ts';
import { LoyaltyService } from './loyalty.service.ts';

@Controller()
export class LoyaltyController {
  constructor(
    private readonly loyalty: LoyaltyService,
    private readonly warren: WarrenService,
  ) {}

  @Get('points/:userId')
  points(@Param('userId', ParseUUIDPipe) userId: string) {
    return this.loyalty.find({ userId });
  }

  @Get('livez')
  livez() {
    return { status: 'ok' };
  }

  @Get('readyz')
  readyz() {
    const { problem } = this.warren;
    if (problem !== undefined) throw new ServiceUnavailableException(problem);
    return { status: 'ok' };
  }
}
