import { everyPage, MAX_LIMIT } from '@millrace/api';
import { api } from './server.ts';

export const readMachines = () => everyPage((cursor) => api.machines.list({ cursor }));
export const readLicences = () => everyPage((cursor) => api.licences.list({ cursor }));
/** The newest ones. Pages are read every few seconds, so they do not read everything that was ever made. */
export const readObjects = async () => (await api.objects.list({ limit: MAX_LIMIT })).items;
export const readPrints = async () => (await api.prints.list({ limit: MAX_LIMIT })).items;
export const readDesigns = () => everyPage((cursor) => api.designs.list({ cursor }));
export const readSpools = () => everyPage((cursor) => api.spools.list({ cursor }));
export const readOrganisations = () => everyPage((cursor) => api.organisations.list({ cursor }));
