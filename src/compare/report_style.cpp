#include "compare/report_parts.h"

namespace graft {

// The eight method colours keep a contrast of at least 3:1 to the page in both schemes and stay apart (CIELAB
// distance 17 at least) for protanopes and deuteranopes. Print takes the light scheme.
const char* const kReportStyle = R"css(
:root{--page:#fff;--ink:#1b1f24;--soft:#57606a;--line:#d5dae0;--grid:#e9ecf0;--panel:#f6f8fa;--accent:#0b5cad;--better:#cfe4fa;--better-ink:#08427e;--worse:#fde0c8;--worse-ink:#7c2f00;--warn:#a33a00;
--c0:#0062ce;--c1:#e0481a;--c2:#0f9c99;--c3:#7f105c;--c4:#5ea33a;--c5:#637bb5;--c6:#5d3a1f;--c7:#e32d74}
@media (prefers-color-scheme:dark){:root{--page:#12161b;--ink:#e6e9ed;--soft:#9ea8b3;--line:#39424d;--grid:#262d35;--panel:#1a2027;--accent:#7ab8f5;--better:#123a61;--better-ink:#b6dbff;--worse:#55290c;--worse-ink:#ffcfa8;--warn:#ffab70;
--c0:#3691f5;--c1:#ec7922;--c2:#1bcba1;--c3:#b866b2;--c4:#dddd8a;--c5:#b6feee;--c6:#c1c2e9;--c7:#f86373}}
@media print{:root{--page:#fff;--ink:#000;--soft:#444;--line:#bbb;--grid:#e4e4e4;--panel:#f7f7f7;--accent:#0b5cad;--better:#cfe4fa;--better-ink:#08427e;--worse:#fde0c8;--worse-ink:#7c2f00;--warn:#a33a00;
--c0:#0062ce;--c1:#e0481a;--c2:#0f9c99;--c3:#7f105c;--c4:#5ea33a;--c5:#637bb5;--c6:#5d3a1f;--c7:#e32d74}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-padding-top:12px}
body{margin:0 auto;padding:28px 40px 60px;max-width:1080px;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,"Noto Sans","DejaVu Sans",sans-serif;font-variant-numeric:tabular-nums}
h1{font-size:30px;line-height:1.2;margin:0 0 8px;letter-spacing:-.01em}
h2{font-size:20px;margin:0 0 12px;line-height:1.3}
h3{font-size:14px;margin:0 0 6px;line-height:1.4}
p{margin:0 0 10px;max-width:78ch}
a{color:var(--accent)}
small{font-size:12px;color:var(--soft)}
.kind{margin:0 0 2px;color:var(--soft);font-size:13px}
.facts span:not(:last-child)::after{content:" · ";color:var(--soft)}
.facts{color:var(--soft);margin-bottom:14px}
nav{display:flex;flex-wrap:wrap;gap:4px 16px;font-size:13px;border-top:1px solid var(--line);border-bottom:1px solid var(--line);padding:8px 0}
nav a{text-decoration:none;padding:3px 0}
nav a:hover{text-decoration:underline}
section{margin-top:38px}
.note{font-size:13px;color:var(--soft);margin-top:10px;max-width:100ch}
.answer{background:var(--panel);border-left:4px solid var(--accent);padding:20px 24px 14px;margin-top:24px;border-radius:0 6px 6px 0}
.answer h2{font-size:13px;color:var(--soft);font-weight:600;margin:0 0 4px}
.headline{font-size:22px;line-height:1.35;font-weight:650;margin:0 0 12px;max-width:46ch;text-wrap:balance}
.settings span{margin-right:10px;display:inline-block;overflow-wrap:anywhere}
.settings b{font-weight:400;color:var(--soft)}
.why{display:grid;grid-template-columns:1fr 1fr;gap:8px 36px}
.why ul{margin:0 0 8px}
ul{padding-left:18px;margin:0 0 10px}
li{margin-bottom:5px;max-width:78ch}
.scroll{overflow-x:auto;-webkit-overflow-scrolling:touch}
table{border-collapse:collapse;font-size:13.5px;width:100%}
th,td{text-align:right;padding:6px 8px;vertical-align:top;white-space:nowrap;border-bottom:1px solid var(--grid)}
thead th{font-weight:600;color:var(--soft);font-size:12.5px;vertical-align:bottom;border-bottom:1px solid var(--line);white-space:normal}
th:first-child{text-align:left;position:sticky;left:0;background:var(--page);font-weight:600;padding-left:4px}
tbody th span{display:inline-block;max-width:220px;overflow:hidden;text-overflow:ellipsis;vertical-align:bottom}
td>small{display:block}
tr.group>*{border-top:1px solid var(--soft)}
tr.pick th,tr.pick .primary{color:var(--accent)}
.primary{font-weight:600}
.primary small{font-weight:400}
.ranking td:nth-child(2) small{display:inline}
.text td,.text th{text-align:left;white-space:normal}
.text td:nth-child(3),.text td:nth-child(4){text-align:right;white-space:nowrap}
.text tbody th{min-width:220px}
.text tbody th span{max-width:none;font-weight:400;overflow-wrap:anywhere}
.warn{color:var(--warn);font-weight:600}
.matrix{width:auto}
.matrix td{text-align:center;min-width:62px;padding:5px 6px;border:2px solid var(--page)}
.matrix thead th{text-align:center;font-size:12px;max-width:90px;overflow-wrap:break-word}
.matrix td small{font-size:11.5px;color:inherit;opacity:.85}
.matrix .tied,.swatch.tied{background:var(--grid);color:var(--soft)}
.matrix .better,.swatch.better{background:var(--better);color:var(--better-ink)}
.matrix .worse,.swatch.worse{background:var(--worse);color:var(--worse-ink)}
.matrix .self{background:none}
.dense td{min-width:20px;padding:1px;font-size:10px;line-height:1.5;border-width:1px}
.dense thead th{font-size:10px;padding:1px}
.dense tbody th{padding:1px 8px 1px 2px;font-weight:400;font-size:12px}
.dense i{font-style:normal;color:var(--soft);display:inline-block;width:20px;text-align:right;margin-right:6px}
.swatch{padding:1px 8px;border-radius:3px;white-space:nowrap}
.key{width:12px;height:12px;margin-right:7px;vertical-align:-1px;flex:none}
.chart{display:block;max-width:100%;height:auto;overflow:visible}
.narrow{display:none}
.wide,.narrow{margin-bottom:14px}
.panels .wide,.panels .narrow{margin:0}
.panels figure{display:flex;flex-direction:column;justify-content:space-between}
.trio{display:grid;grid-template-columns:repeat(3,1fr);gap:20px 16px}
.trio h3{margin-bottom:8px}
.trio.stacked{grid-template-columns:1fr}
figure{margin:0;min-width:0}
figcaption{font-size:13px;display:flex;align-items:baseline;flex-wrap:wrap;margin-bottom:2px}
figcaption span{color:var(--soft);margin-left:8px;font-size:12px}
.panels{display:grid;grid-template-columns:repeat(auto-fill,minmax(225px,1fr));gap:18px 16px}
svg text{font-size:12px;fill:var(--ink);font-family:inherit}
svg .tick,svg .faint{font-size:11px;fill:var(--soft)}
svg .axis{fill:var(--soft)}
svg .value{fill:var(--soft);white-space:pre}
svg .strong{font-weight:650}
svg .label{paint-order:stroke;stroke:var(--page);stroke-width:3px;stroke-linejoin:round}
.grid{stroke:var(--grid);stroke-width:1}
.rule{stroke:var(--line);stroke-width:1}
.reference{stroke:var(--soft);stroke-width:1;stroke-dasharray:3 3}
.leader{stroke:var(--soft);stroke-width:.7;opacity:.8}
.stroke{stroke:currentColor;stroke-width:2;fill:none;stroke-linejoin:round}
.thin{stroke:currentColor;stroke-width:1.2;opacity:.65}
.early{stroke:currentColor;stroke-width:1;fill:none;opacity:.35}
.others{stroke:var(--line);stroke-width:1;fill:none}
.front{stroke:var(--soft);stroke-width:1.2;fill:none;stroke-dasharray:5 3}
.mark{fill:currentColor;stroke:var(--page);stroke-width:1}
.hollow{fill:var(--page);stroke:currentColor;stroke-width:1.6}
.seed{fill:currentColor;opacity:.6}
.cross{stroke:var(--warn);stroke-width:1.8;fill:none}
.c0{color:var(--c0)}.c1{color:var(--c1)}.c2{color:var(--c2)}.c3{color:var(--c3)}.c4{color:var(--c4)}.c5{color:var(--c5)}.c6{color:var(--c6)}.c7{color:var(--c7)}
.sample{border-top:1px solid var(--line);padding:12px 0 6px}
.prompt{color:var(--soft);font-size:13.5px;white-space:pre-wrap;overflow-wrap:anywhere;max-width:none}
dl{margin:0}
dl>div{display:grid;grid-template-columns:150px 1fr;gap:2px 16px;padding:4px 0;font-size:14px}
dt{color:var(--soft);font-size:13px;overflow-wrap:anywhere}
dd{margin:0;overflow-wrap:anywhere;white-space:pre-wrap;max-width:90ch}
.reference dd{font-weight:600}
summary{font-size:13px;color:var(--accent);cursor:pointer;padding:6px 0}
.facts-list{margin-top:16px}
.facts-list>div{border-top:1px solid var(--grid)}
code{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
footer{margin-top:44px;border-top:1px solid var(--line);padding-top:10px;color:var(--soft);font-size:13px}
@media screen and (max-width:760px){
body{padding:18px 16px 40px;font-size:15.5px}
h1{font-size:25px}
.headline{font-size:19px}
.answer{padding:16px 16px 8px;margin-left:-16px;margin-right:-16px;border-radius:0}
.why,.trio{grid-template-columns:1fr}
.trio figure{max-width:440px}
.trio .chart{width:100%}
.wide{display:none}
.narrow{display:block}
.narrow .chart{width:100%}
.panels{grid-template-columns:repeat(auto-fill,minmax(160px,1fr));gap:16px 12px}
.text td:last-child{min-width:260px}
.panels .chart{width:100%}
dl>div{grid-template-columns:1fr}
tbody th span{max-width:120px}
section{margin-top:32px}
}
@media print{
@page{margin:14mm 13mm}
body{padding:0;max-width:none;font-size:10pt}
nav{display:none}
.answer{border:1px solid var(--line);border-left:4px solid var(--accent)}
h2,h3,figcaption{break-after:avoid}
figure,tr,.sample,.answer,.wide,.facts-list>div{break-inside:avoid}
section{margin-top:22px}
.scroll{overflow:visible}
table{font-size:8.5pt}
th,td{padding:3px 5px}
td>small,small{font-size:7.5pt}
thead th{font-size:8pt}
.matrix td{min-width:0}
.trio{gap:10px}
.wide .chart{width:100%}
.panels{grid-template-columns:repeat(4,1fr);gap:10px}
th:first-child{position:static}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}
}
)css";

}  // namespace graft
