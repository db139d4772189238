// The page's own words, in its languages. What was recorded stays as it was written.

/** @type {Record<string, Record<string, string>>} */
const words = {
  en: {
    title: 'tcplab report', language: 'Language', theme: 'Colours', light: 'light', dark: 'dark', auto: 'as the system',
    scenarios: 'Scenarios', captures: 'Captures', search: 'Search', suite: 'Suite', label: 'Label', verdict: 'Verdict', kernel: 'Kernel', run: 'Run', seed: 'Seed',
    all: 'all', shown: '{0} of {1} shown', passed: 'passed', failed: 'failed', skipped: 'skipped', missing: '{0} scenarios did not run to their end', focused: 'only focused specs ran of {0}: this does not count as passed',
    claim: 'Scenario', figures: 'Metrics', virtual: 'Virtual time', lasts: 'Duration', wall: 'Wall time', cached: 'from the cache', reproduce: 'Run it again',
    copy: 'copy', copied: 'copied', notCopied: 'not copied', expected: 'expected', margin: 'margin', nearestOf: 'nearest to an edge of {0}',
    checks: 'Checks besides: {0}. Nearest to an edge:', checksAll: 'Checks besides: {0}', matrix: 'Side by side', differs: 'differs', back: 'All scenarios', nothing: 'Nothing matches these filters.',
    source: 'Source', sourceMissing: 'The source is not at hand where this report was made.', topology: 'Topology and impairments', asked: 'asked', applied: 'applied',
    sysctls: 'Sysctls that were set', sysctl: 'Sysctl', host: 'Host', value: 'Value', end: 'Link end', time: 'Time', change: 'What was done', notes: 'Notes',
    connections: 'Connections', connection: 'Connection', seenAt: 'Seen at', direction: 'Data of', client: 'client', server: 'server',
    sequence: 'Time-sequence', sequenceHelp: 'Drag to zoom, double-click to reset. Keys: ← → packet by packet, Enter opens it, + − zoom, 0 resets, Shift with ← → moves.',
    sequenceAxis: 'Sequence numbers (bytes) over time', edge: 'window edge', acks: 'ACKs', sacks: 'SACK blocks', dsacks: 'DSACK blocks', firstSent: 'first transmission', again: 'retransmission: {0}',
    droppedMark: 'dropped by a rule', lostMark: 'lost on the way', heldMark: 'a rule acted on it', resetMark: 'reset', zeroWindow: 'zero window',
    thinned: '{0} packets are drawn of {1}: first those near events, of the others some. A thin line stands for what was left out.',
    ladder: 'Ladder', ladderHelp: 'Each arrow is a packet, from its sender to where it was seen. Choose one to open it.', folded: '{0} packets like these', unfold: 'unfold', fold: 'fold all',
    more: 'show {0} more', nothingToDraw: 'There is nothing to draw.', noCapture: 'This scenario recorded no capture, so there are no packets to draw.', noTCP: 'The capture has no TCP packets to draw.', notRead: 'The capture could not be read, so there are no packets to draw: the notes say why.',
    leftOut: 'Its {0} packets are left out: this page has no room for them. A report of fewer scenarios draws them.',
    packet: 'Packet', frame: 'Frame', close: 'close', previous: 'previous', next: 'next', where: 'Where', flags: 'Flags', seq: 'Sequence number', ack: 'Acknowledges',
    length: 'Payload', window: 'Window', marks: 'Marks (Wireshark)', cause: 'Retransmitted because of', fate: 'On its way', rule: 'Rule', rtt: 'RTT', inFlight: 'In flight',
    arrived: 'arrived', lost: 'lost: it was not seen at the other host', dropped: 'dropped', unknown: 'not known: the other host was not captured',
    sameAt: 'The same packet', sentBefore: 'Sent before', sentAgainIn: 'Retransmitted', fields: 'Fields', field: 'Field', bits: 'Bits', meaning: 'Meaning', fieldsLeftOut: 'The page does not have the fields of this packet. This shows them:',
    findings: 'Findings', likely: 'Likely cause', inEnglish: 'The same in English, of this case', lookNext: 'Look at next', frames: 'Frames', noFindings: 'No findings.', counters: 'Counters that moved', counter: 'Counter',
    measured: 'Measured in the capture', way: 'Way', sentPackets: 'Packets sent', lostShare: 'Not seen', onTheWay: 'On the way (least … median … most)',
    peers: 'Programs', result: 'Result', artefacts: 'Files', folder: 'Folder', queues: 'Queues', table: 'The same as a table', rowsLeftOut: '{0} more rows are left out.',
    plots: 'Over time', cwnd: 'Congestion window', rttPlot: 'Round trips', goodput: 'Goodput and pacing', queue: 'Queue', flight: 'In flight, by the capture', gains: 'Gains',
    print: 'Print', tooOld: 'This browser is too old: it has no DecompressionStream. Firefox 113, Chrome 80 or Safari 16.4 have it.', seen: 'seen',
    bytesSent: 'Bytes', retransmissions: 'Retransmissions', finding: 'Findings', failure: 'Failure', reason: 'Reason', noteNotDrawn: 'Notes on the evidence',
    rate: 'Rate', pathRTT: 'Round-trip time', loss: 'Loss', buffer: 'Buffer', flows: 'Flows', packetsOf: '{0} packets', metric: 'Metric', across: 'Across', lines: 'Lines',
    sweepOf: 'Sweep: {0} points, {1} seeds', bandHelp: "Lines are medians of the seeds, bands their confidence intervals. Values across are evenly spaced. Choose a mark to see its scenario.",
    heatMap: 'Heat map of medians', boxes: 'Box plots', boxHelp: 'A box is from the lower to the upper quartile of the seeds, with the median in it; whiskers are the least and the greatest.', boxText: 'least {0}, quartiles {1}, {2}, {3}, greatest {4}',
    cdf: 'Distribution over the seeds', busy: "the guest's processor was busy", medianOf: 'median {0} ({1} to {2}) of {3} seeds, {4} % sure',
    compareWith: 'Compare with', nobody: 'nothing', compared: 'Compared', onOneAxis: 'On one axis', sinceBeginning: 'Times are since the connection began (without packets: since the scenario began). A is solid, B is dashed.', differences: 'Differences',
    changed: 'Change', sameMetrics: 'All metrics and checks are the same.', sameCounters: "TCP's counters are the same.", overlay: 'on one axis',
    timer: 'Timer', timerFired: '{0} timer fired', inferred: 'by the packets', notesHelp: 'Beside a lifeline: ■ the state that its socket enters, ◷ a timer that fired.', inferredHelp: 'States in italics follow from the packets; the others the kernel has told.',
    bands: 'States', tcpStates: 'TCP states', statesHelp: 'Keys: ← → from state to state, 0 resets the zoom.', checksTitle: 'Metrics and checks', dashed: 'Steps of links',
  },
  zh: {
    title: 'tcplab 报告', language: '语言', theme: '配色', light: '浅色', dark: '深色', auto: '跟随系统',
    scenarios: '场景', captures: '抓包文件', search: '搜索', suite: '套件', label: '标签', verdict: '结论', kernel: '内核', run: '运行', seed: '种子',
    all: '全部', shown: '显示 {0} / {1}', passed: '通过', failed: '失败', skipped: '跳过', missing: '{0} 个场景未运行完', focused: '{0} 只运行了聚焦的用例：不算通过',
    claim: '场景', figures: '指标', virtual: '虚拟时间', lasts: '时长', wall: '实际耗时', cached: '来自缓存', reproduce: '重新运行',
    copy: '复制', copied: '已复制', notCopied: '复制失败', expected: '期望', margin: '余量', nearestOf: '{0} 个值中最接近边界者',
    checks: '另有 {0} 项检查；最接近边界的是：', checksAll: '另有 {0} 项检查', matrix: '并排比较', differs: '有差异', back: '所有场景', nothing: '没有符合条件的场景。',
    source: '源代码', sourceMissing: '生成报告时找不到源代码。', topology: '拓扑与链路损伤', asked: '请求值', applied: '实际值',
    sysctls: '设置过的 sysctl', sysctl: 'sysctl', host: '主机', value: '值', end: '链路端', time: '时间', change: '操作', notes: '说明',
    connections: '连接', connection: '连接', seenAt: '抓包位置', direction: '数据方向', client: '客户端', server: '服务器',
    sequence: '时间-序列号图', sequenceHelp: '拖动缩放，双击复位。按键：← → 逐包移动，Enter 打开，+ − 缩放，0 复位，Shift + ← → 平移。',
    sequenceAxis: '序列号（字节）随时间的变化', edge: '窗口右边界', acks: 'ACK', sacks: 'SACK 块', dsacks: 'DSACK 块', firstSent: '首次发送', again: '重传：{0}',
    droppedMark: '被规则丢弃', lostMark: '途中丢失', heldMark: '规则作用于此', resetMark: '复位', zeroWindow: '零窗口',
    thinned: '共 {1} 个包，绘出 {0} 个：优先保留事件附近的包，其余抽取。细线表示省略的部分。',
    ladder: '时序梯形图', ladderHelp: '每个箭头是一个包，从发送方到被看到的位置。选择即可打开。', folded: '{0} 个类似的包', unfold: '展开', fold: '全部折叠',
    more: '再显示 {0} 个', nothingToDraw: '没有可绘制的内容。', noCapture: '此场景没有抓包，因此没有可绘制的数据包。', noTCP: '抓包中没有可绘制的 TCP 包。', notRead: '无法读取抓包，因此没有可绘制的数据包：原因见说明。',
    leftOut: '它的 {0} 个包已省略：页面大小有限。场景较少的报告会绘出它们。',
    packet: '数据包', frame: '帧', close: '关闭', previous: '上一个', next: '下一个', where: '位置', flags: '标志', seq: '序列号', ack: '确认号',
    length: '载荷', window: '窗口', marks: '标记（Wireshark）', cause: '重传原因', fate: '途中结果', rule: '规则', rtt: '往返时间', inFlight: '在途字节',
    arrived: '已到达', lost: '丢失：对端主机未见到', dropped: '被丢弃', unknown: '未知：未在对端抓包',
    sameAt: '同一个包', sentBefore: '之前发送于', sentAgainIn: '重传于', fields: '字段', field: '字段', bits: '位数', meaning: '含义', fieldsLeftOut: '页面未保存此包的字段，可用以下命令查看：',
    findings: '诊断', likely: '可能原因', inEnglish: '此例的英文原文', lookNext: '接下来查看', frames: '帧', noFindings: '没有发现问题。', counters: '变化的计数器', counter: '计数器',
    measured: '抓包中测得', way: '路径', sentPackets: '发送包数', lostShare: '未见到达', onTheWay: '在途时间（最小 … 中位数 … 最大）',
    peers: '程序', result: '结果', artefacts: '文件', folder: '文件夹', queues: '队列', table: '以表格显示', rowsLeftOut: '另有 {0} 行未显示。',
    plots: '随时间变化', cwnd: '拥塞窗口', rttPlot: '往返时间', goodput: '有效吞吐量与发送节奏', queue: '队列', flight: '在途字节（按抓包）', gains: '增益',
    print: '打印', tooOld: '浏览器版本过旧，没有 DecompressionStream。需要 Firefox 113、Chrome 80 或 Safari 16.4 以上。', seen: '所见',
    bytesSent: '字节', retransmissions: '重传', finding: '诊断', failure: '失败信息', reason: '原因', noteNotDrawn: '关于证据的说明',
    rate: '速率', pathRTT: '往返时间', loss: '丢包率', buffer: '缓冲区', flows: '流', packetsOf: '{0} 个包', metric: '指标', across: '横轴', lines: '曲线',
    sweepOf: '参数扫描：{0} 个点，{1} 个种子', bandHelp: '线为各种子的中位数，色带为其置信区间。横轴各值等距。选择标记可查看对应场景。',
    heatMap: '中位数热图', boxes: '箱线图', boxHelp: '箱体从下四分位数到上四分位数，内含中位数；须线为最小值与最大值。', boxText: '最小 {0}，四分位 {1}、{2}、{3}，最大 {4}',
    cdf: '各种子的分布', busy: '客户机处理器繁忙', medianOf: '中位数 {0}（{1} 至 {2}），{3} 个种子，置信度 {4} %',
    compareWith: '与之比较', nobody: '无', compared: '比较', onOneAxis: '同一坐标轴', sinceBeginning: '时间从连接开始计（没有数据包时从场景开始计）。A 为实线，B 为虚线。', differences: '差异',
    changed: '变化', sameMetrics: '所有指标与检查都相同。', sameCounters: 'TCP 计数器都相同。', overlay: '同轴比较',
    timer: '定时器', timerFired: '{0} 定时器到期', inferred: '由数据包推断', notesHelp: '生命线旁：■ 套接字进入的状态，◷ 到期的定时器。', inferredHelp: '斜体的状态由数据包推断，其余由内核报告。',
    bands: '状态', tcpStates: 'TCP 状态', statesHelp: '按键：← → 逐个状态移动，0 复位缩放。', checksTitle: '指标与检查', dashed: '链路变化',
  },
};

/** Causes of retransmissions in Chinese, by their English names. @type {Record<string, string>} */
const chineseCauses = {
  SYN: 'SYN', fast: '快速重传', 'tail loss probe': '尾部丢失探测 (TLP)', timeout: '超时 (RTO)', recovery: '超时后恢复', spurious: '虚假重传',
  'fast open': 'Fast Open', 'path MTU': '路径 MTU', unexplained: '原因不明',
};

/** Series and units in Chinese, by their English names. @type {Record<string, string>} */
const chineseSeries = {
  'in flight': '在途', 'in flight (capture)': '在途（抓包）', goodput: '有效吞吐量', 'pacing rate': '发送节奏', 'delivery rate': '交付速率', "BBR's bandwidth": 'BBR 带宽',
  "BBR's min RTT": 'BBR 最小 RTT', 'pacing gain': '节奏增益', queue: '队列', sent: '已发送', retransmitted: '重传', segments: '段', bytes: '字节', packets: '包',
};

/** Timers in Chinese, by their English names; RTO and TLP are called so. @type {Record<string, string>} */
const chineseTimers = { persist: '坚持（零窗口探测）', 'keep-alive': '保活' };

let currentLanguage = 'en';

/**
 * @param {string} key
 * @param {...(string | number)} values
 * @returns {string}
 */
function t(key, ...values) {
  const text = words[currentLanguage]?.[key] ?? words.en[key] ?? key;
  return text.replace(/\{(\d)\}/g, (_, n) => String(values[Number(n)]));
}

/** @param {string} name */
function causeText(name) { return currentLanguage === 'zh' ? chineseCauses[name] ?? name : name; }

/** @param {string} name */
function timerText(name) { return currentLanguage === 'zh' ? chineseTimers[name] ?? name : name; }

/** @param {string} name */
function seriesName(name) { return currentLanguage === 'zh' ? chineseSeries[name] ?? name : name; }

/** @param {string} verdict */
function verdictText(verdict) { return words[currentLanguage][verdict] ?? verdict; }
