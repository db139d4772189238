// What findings mean, by their kinds. In English package analysis says it of each case; in Chinese it is said by kind, with the case's
// numbers, and the English text stands below.

/**
 * {host} is who showed it, {other} the other side, {count} how many frames, {percent} their share of the segments with data, {closed} for how
 * long its window was closed, {stalled} how long timeouts were waited for: what is in brackets is there if there were any.
 * @typedef {{title: string, seen: string, cause: string, next: string}} ChineseFinding
 * @type {Record<string, {en: string, zh: ChineseFinding}>}
 */
const findingWords = {
  'captured-twice': { en: 'Captured twice', zh: { title: '重复抓取', seen: '有 {count} 个段与之前抓到的完全相同。',
    cause: '数据包经过了两个抓包点（路由器两侧、网桥及其端口、"any" 接口、镜像端口），因此被抓了两次；也可能是网络复制了包（此时接收方会以 D-SACK 说明）。它们不计为重传。',
    next: '只在一个接口、一个位置抓包（tcpdump -i eth0），或用 editcap -d 去除重复。' } },
  'duplicated': { en: 'The network duplicates packets', zh: { title: '网络复制数据包', seen: '{other}以 D-SACK 报告收到了 {count} 次重复，而{host}只发送过一次。',
    cause: '网络复制了数据包：环路、冗余路径（PRP、广播模式的链路聚合），或 netem 的 duplicate。', next: '在两端主机抓包：副本的 IPv4 标识相同。再逐步靠近副本首次出现的位置。' } },
  'one-direction': { en: 'Only one direction was captured', zh: { title: '只抓到一个方向', seen: '只抓到了{host}的包，它们确认了{other}必然发送过的数据。',
    cause: '另一方向走了别的路径（非对称路由、链路聚合的另一条链路），或镜像端口只有一个方向。无法判断另一方的行为。', next: '在{host}上直接抓包，或镜像两个方向；两个单向抓包可用 mergecap 合并。' } },
  'time-goes-back': { en: 'Time goes back', zh: { title: '时间倒退', seen: '有 {count} 个包的时间早于其前一个包。',
    cause: '文件由多个抓包拼接而成（mergecap -a、cat），或时钟被调整过。跨越此处无法判断丢包、重传与耗时。', next: '按时间排序（reordercap），按时间合并（mergecap），或重新抓包。' } },
  'unanswered-syn': { en: 'Nobody answered the SYN', zh: { title: 'SYN 无应答', seen: '客户端发送了 {count} 次 SYN，服务器始终没有应答。',
    cause: '服务器主机不在线，往返路径中断，或防火墙丢弃了包。监听队列已满时也会丢弃 SYN。', next: '在服务器上抓包：若 SYN 到达，检查防火墙与 nstat TcpExtListenDrops；若未到达，沿路径排查（traceroute --tcp）。' } },
  'unanswered-syn-ack': { en: 'Nobody acknowledged the SYN-ACK', zh: { title: 'SYN-ACK 无确认', seen: '服务器发送了 SYN-ACK（共 {count} 帧相关），客户端始终没有确认。',
    cause: 'SYN-ACK 没有到达客户端：没有该连接状态的防火墙，或回程走了另一条路径（非对称路由）；也可能客户端地址是伪造的（SYN 洪泛）。', next: '在客户端抓包：SYN-ACK 是否到达？然后比较两个方向的路由。' } },
  'lost-syn': { en: 'A SYN or SYN-ACK was retransmitted', zh: { title: 'SYN 或 SYN-ACK 被重传', seen: '握手完成之前，SYN 或 SYN-ACK 被重传了 {count} 次。',
    cause: '路径丢包，或监听队列已满而丢弃了 SYN。Linux 等待 1 秒才重传 SYN。', next: '若连接后来也有丢包，多半是路径的问题；若没有，查看服务器的 nstat TcpExtListenDrops 与 TcpExtListenOverflows。' } },
  'handshake-ignored': { en: 'The SYN-ACK was sent again after the ACK', zh: { title: '收到 ACK 后仍重传 SYN-ACK', seen: '客户端的 ACK 已经过此处，服务器仍重传了 {count} 次 SYN-ACK。',
    cause: '服务器要等到数据才接受连接（TCP_DEFER_ACCEPT，Apache 与 nginx 可能设置），accept 队列已满，或 ACK 在此处之后丢失。', next: '在服务器上：ss -ltn 显示 accept 队列（Recv-Q，上限 Send-Q），nstat TcpExtListenOverflows 显示是否溢出；若没有，延迟接受是无害的。' } },
  'icmp-error': { en: 'ICMP said that there is no way', zh: { title: 'ICMP 报告不可达', seen: '{host}的 {count} 个段收到了 ICMP 差错应答。',
    cause: '路径上的路由器或对端主机以 ICMP 说明无法送达：没有路由、主机不在线、端口无人监听，或被防火墙拒绝。', next: '查看发出 ICMP 的地址：检查那里的路由表与防火墙规则。' } },
  'refused': { en: 'The connection was refused', zh: { title: '连接被拒绝', seen: '服务器主机以复位（RST）应答了 SYN。',
    cause: '那里没有程序监听该端口，或防火墙拒绝连接。', next: '在服务器上：ss -ltn 查看监听者及其绑定的地址，然后检查防火墙的 reject 规则。' } },
  'lossy-link': { en: 'Segments were lost', zh: { title: '链路丢包', seen: '{host}重传了 {count} 个段，占带数据段的 {percent}[；等待超时共 {stalled}]。',
    cause: '链路丢失了数据段，或回程的 ACK。若重传的段之前经过了此处，丢失发生在抓包点之后；否则在抓包点之前。', next: '在更靠近丢失一侧的位置抓包比较；查看沿途的丢弃计数（tc -s qdisc、ip -s link）。' } },
  'spurious-retransmission': { en: 'Segments were retransmitted without need', zh: { title: '不必要的重传', seen: '{host}有 {count} 个段在并未丢失的情况下被重传。',
    cause: '往返时间突然变长使重传超时提前触发，或乱序被误认为丢失。', next: '查看往返时间与乱序；时间戳与 D-SACK 让发送方识别并撤销。' } },
  'reordering': { en: 'Segments came out of order', zh: { title: '乱序', seen: '{host}的 {count} 个段晚于其后的段到达，之前没有经过此处，也没有重传。',
    cause: '从{host}到抓包点的路径造成乱序：并行链路或轮流服务的队列；netem 的抖动也会如此。', next: '若因此引起快速重传，可在{host}上调高 net.ipv4.tcp_reordering，或修复路径。' } },
  'mtu-black-hole': { en: 'Path-MTU black hole', zh: { title: '路径 MTU 黑洞', seen: '{host}的大段反复发送（{count} 帧）仍未被确认，而较小的段被确认了。',
    cause: '路径上某条链路的 MTU 较小，而说明此事的 ICMP 消息没有传回来（RFC 2923）。', next: '用 ping -M do -s 逐步减小大小来找到可通过的值；放行 ICMP，在路由器上钳制 MSS，或设置 net.ipv4.tcp_mtu_probing=1。' } },
  'path-mtu-ignored': { en: 'ICMP about the path MTU is ignored', zh: { title: '忽略路径 MTU 消息', seen: 'ICMP 说明{host}的段过大，它仍发送同样大小的段（{count} 帧），且始终未被确认。',
    cause: '{host}没有理会这些消息：后面的防火墙丢弃了它们，或它不做路径 MTU 发现却禁止分片（DF）。', next: 'ICMP 能否到达{host}（类型 3 代码 4；ICMPv6 类型 2）？ip route get 显示它所知的路径 MTU。可在路由器上钳制 MSS，或设置 net.ipv4.tcp_mtu_probing=1。' } },
  'missing-data': { en: 'A hole was never filled', zh: { title: '缺口未被填补', seen: '{host}的数据中有一个缺口始终没有填补。',
    cause: '{host}的重传在到达此处之前丢失，或它已放弃。', next: '在{host}上抓包：它是否重传？然后沿路径排查。' } },
  'unanswered-data': { en: 'The other host stopped answering', zh: { title: '对端停止应答', seen: '{host}反复发送同一个段（{count} 帧）直到抓包结束，没有得到 ACK。',
    cause: '{other}不在线，路径中断，或防火墙、NAT 丢失了该连接的状态。', next: '现在能否到达{other}（ping、新连接）？若新连接可用，怀疑防火墙或 NAT 中的状态。' } },
  'closed-window': { en: 'A receiver closed its window', zh: { title: '接收窗口关闭', seen: '{host}的接收窗口总共关闭了 {closed}（{count} 帧）。',
    cause: '{host}上的程序读取得比{other}发送得慢。', next: '该程序在等待什么？在{host}上：ss -tm 显示尚未读取的字节（Recv-Q）。' } },
  'window-limited': { en: 'The receive window limited the sender', zh: { title: '受接收窗口限制', seen: '{host}有 {count} 个段占满了接收窗口。',
    cause: '吞吐量受对端接收窗口限制，而不是受拥塞窗口限制：每个往返时间最多发送一个窗口。', next: '在{other}上查看 net.ipv4.tcp_rmem 与程序的 SO_RCVBUF；窗口至少应为带宽时延积。' } },
  'delayed-ack': { en: "Nagle's algorithm waited for delayed ACKs", zh: { title: 'Nagle 算法与延迟确认相互等待', seen: '有 {count} 次，小段一直等到{host}的延迟 ACK 才发送。',
    cause: '一方的 Nagle 算法等待另一方的延迟 ACK：程序把一条消息分成几次小的写入，然后等待应答。', next: '让{other}上的程序一次写入整条消息，或设置 TCP_NODELAY。' } },
  'slow-answer': { en: 'The program took long to answer', zh: { title: '程序应答缓慢', seen: '{host}上的程序在主机确认请求之后过了很久才应答（{count} 次）。',
    cause: '{host}上的程序，或它所依赖的服务（数据库、其他服务器）缓慢；不是网络的问题。长轮询等有意等待除外。', next: '查看{host}在这些帧之前的请求日志，以及它当时在等待什么。' } },
  'ecn-congestion': { en: 'Queues marked packets with ECN', zh: { title: 'ECN 拥塞标记', seen: '队列对{host}的包做了 ECN 标记，或其回应可见（{count} 帧）。',
    cause: '路径上的队列出现拥塞，并以标记代替丢弃。', next: '以标记代替丢包正是应有的行为。沿途的 tc -s qdisc 显示是哪个队列（ecn_mark）。' } },
  'keep-alive-unanswered': { en: 'Keep-alives got no answer', zh: { title: '保活无应答', seen: '{host}发送了 {count} 个保活探测，没有得到应答。',
    cause: '{other}无声地消失了：主机或链路断开，或防火墙忘记了空闲的连接。', next: '现在能否到达{other}？若能，保活的间隔（TCP_KEEPIDLE）须短于防火墙或 NAT 的空闲超时。' } },
  'reset': { en: 'A reset ended the connection', zh: { title: '连接被复位', seen: '{host}以复位（RST）结束了连接。',
    cause: '程序在仍有未读数据时关闭、以 SO_LINGER 0 关闭或被终止；该主机已没有这个连接；或路径上的设备发出了复位。', next: '查看复位之前的帧，以及{host}上程序的日志；比较 RST 的 TTL 与该主机其他包的 TTL。' } },
  'incomplete-capture': { en: 'The capture lacks packets', zh: { title: '抓包不完整', seen: '{host}确认了没有抓到的数据（{count} 帧）。',
    cause: '抓包缺少数据包，因此其他诊断可能有误：抓包程序丢弃了它们，或它们走了另一条路径。', next: '抓包丢弃了多少包（Wireshark：统计、捕获文件属性）？减小 snap 长度或增大缓冲区有帮助（tcpdump -s 128 -B 65536）。' } },
};

/**
 * The texts of a finding in the page's language.
 * @param {any} f
 * @param {any} connection
 * @param {any} view
 * @returns {{title: string, seen: string, cause: string, next: string, original: boolean}} original: it is package analysis' own text
 */
function findingText(f, connection, view) {
  const words = findingWords[f.kind];
  if (currentLanguage !== 'zh' || !words) return { title: words?.en ?? f.kind, seen: f.seen, cause: f.cause, next: f.next, original: true };
  const server = f.host === connection.server, side = server ? view.server : view.client;
  /** @type {Record<string, string>} */
  const values = {
    host: server ? t('server') : t('client'), other: server ? t('client') : t('server'), count: String(f.count),
    percent: side?.data_segments ? digits(100 * f.count / side.data_segments) + ' %' : '?', closed: duration(side?.window_closed_ns || 0), stalled: duration(side?.stalled_ns || 0),
  };
  const filled = (/** @type {string} */ text) => text.replace(/\[([^\]]*)\]/g, (_, part) => side?.stalled_ns ? part : '').replace(/\{(\w+)\}/g, (_, name) => values[name] ?? '');
  return { title: words.zh.title, seen: filled(words.zh.seen), cause: filled(words.zh.cause), next: filled(words.zh.next), original: false };
}

/** @param {string} kind */
function findingTitle(kind) { return (currentLanguage === 'zh' ? findingWords[kind]?.zh.title : findingWords[kind]?.en) ?? kind; }
