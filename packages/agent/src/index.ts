export { type LocalPage, servePage } from './page/server.ts';
export { forgetCloud, isPaired } from './pairing/machine-folder.ts';
export { type PairingStep, pair } from './pairing/pair.ts';
export { addMachine, MAX_MACHINES, type Site, type SiteMachine, slotFolder, slotsOf, startSite } from './site.ts';
