export { type DriverCase, type DriverFixture, driverCases } from './driver.ts';
