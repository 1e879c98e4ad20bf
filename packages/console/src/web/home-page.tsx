import { Card } from './parts.tsx';
import { words } from './words.ts';

export function HomePage() {
  const w = words.value;
  return (
    <>
      <h1>{w.homeTitle}</h1>
      <p>{w.homeText}</p>
      <div class="two">
        <Card title={w.homeCertificate}>
          <p>{w.homeCertificateText}</p>
          <a class="button" href="#/certificate">
            {w.openCertificate}
          </a>
        </Card>
        <Card title={w.homeLedger}>
          <p>{w.homeLedgerText}</p>
          <a class="button" href="#/ledger">
            {w.openLedger}
          </a>
        </Card>
      </div>
    </>
  );
}
