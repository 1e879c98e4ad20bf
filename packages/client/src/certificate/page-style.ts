/** Style of a certificate's page. It is embedded unchanged: the page's policy contains its hash. */
export const pageStyle = `
:root{color-scheme:light dark;--page:#f3f4f1;--card:#fff;--text:#1c211d;--quiet:#5d665f;--line:#dde1db;--good:#1b6e43;
--good-soft:#e4f2e9;--bad:#a3261f;--bad-soft:#fbe9e7;--open:#855b00;--open-soft:#fbf2dc}
@media(prefers-color-scheme:dark){:root{--page:#121512;--card:#1b1f1c;--text:#e6eae6;--quiet:#9aa59d;--line:#313833;
--good:#72d09c;--good-soft:#173325;--bad:#ff978c;--bad-soft:#3c1a17;--open:#e7bd63;--open-soft:#352a12}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--text);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:54rem;margin:0 auto;padding:2rem 1rem 4rem;display:grid;grid-template-columns:minmax(0,1fr);gap:1rem}
.card{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:1.25rem 1.5rem;margin:0}
h1{font-size:1.6rem;line-height:1.2;margin:0 0 .25rem}
h2{font-size:1.05rem;margin:0 0 .75rem}
p{margin:.35rem 0;overflow-wrap:anywhere}
.quiet{color:var(--quiet)}
.brand{letter-spacing:.08em;text-transform:uppercase;font-size:.78rem;color:var(--quiet);margin:0}
.verdict{display:flex;gap:1.1rem;align-items:center;border-left:6px solid var(--quiet)}
.verdict>:last-child{min-width:0}
.verdict .mark{flex:none;width:3.2rem;height:3.2rem;border-radius:50%;display:grid;place-items:center;font-size:1.7rem;
font-weight:700;background:var(--page)}
.verdict.good{border-left-color:var(--good)}.verdict.good .mark{background:var(--good-soft);color:var(--good)}
.verdict.bad{border-left-color:var(--bad)}.verdict.bad .mark{background:var(--bad-soft);color:var(--bad)}
.verdict.open{border-left-color:var(--open)}.verdict.open .mark{background:var(--open-soft);color:var(--open)}
.facts{display:flex;gap:1.5rem;align-items:flex-start;justify-content:space-between}
.facts svg{flex:none;width:9.5rem;height:9.5rem;background:#fff;border-radius:8px}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.4rem 1.25rem;margin:0;min-width:0}
dt{color:var(--quiet)}
dd{margin:0;min-width:0;overflow-wrap:anywhere}
code,.mono{font:.86em/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
ol,ul{margin:0;padding:0;list-style:none;display:grid;gap:.6rem}
li{display:grid;grid-template-columns:1.6rem 1fr;gap:.3rem;overflow-wrap:anywhere}
li>span:first-child{font-weight:700}
.proven li>span:first-child{color:var(--good)}
.unproven li>span:first-child{color:var(--open)}
li b{font-weight:600}
.events li{grid-template-columns:1.6rem 8rem 1fr;border-bottom:1px solid var(--line);padding-bottom:.5rem}
.events li:last-child{border:0;padding:0}
details>summary{cursor:pointer;font-weight:600}
label{display:block;margin:.8rem 0 .2rem;color:var(--quiet)}
textarea{width:100%;font:.86rem/1.4 ui-monospace,Menlo,Consolas,monospace;color:inherit;background:var(--page);
border:1px solid var(--line);border-radius:8px;padding:.5rem .6rem;resize:vertical}
button{margin-top:.9rem;font:inherit;font-weight:600;color:var(--card);background:var(--text);border:0;border-radius:8px;
padding:.5rem 1.1rem;cursor:pointer}
button:focus-visible,textarea:focus-visible,summary:focus-visible{outline:3px solid var(--good);outline-offset:2px}
@media(max-width:40rem){.facts{flex-direction:column}.events li{grid-template-columns:1.6rem 1fr}
.events li>:last-child{grid-column:2}dl{grid-template-columns:1fr;gap:.1rem}dd{margin-bottom:.5rem}}
@media print{body{background:#fff}.card{break-inside:avoid}details,button{display:none}}
`;
