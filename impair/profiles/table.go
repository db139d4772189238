package profiles

import (
	"time"

	"github.com/tcplab/tcplab/impair"
)

const (
	kbit = impair.Kbit
	mbit = impair.Mbit
	ms   = time.Millisecond

	ethernet = 1500 // bytes: no source states an MTU
)

// Sources, and what of them could be looked up.
const (
	apple      = "Apple, Network Link Conditioner (Additional Tools for Xcode), its presets"
	appleDoubt = "Apple publishes no list, and the program could not be looked into. Found quoted elsewhere: the delays, and the " +
		"rates of 3G and Edge. Found only as ranges around them (Proxyman's documentation): the rates of LTE, both Wi-Fis and Very " +
		"Bad Network. Not found: the rates of DSL; and the loss of Very Bad Network is quoted as 20 %, too"

	chrome = "ChromeDevTools/devtools-frontend, front_end/core/sdk/NetworkManager.ts, the target values in its comments and " +
		"targetLatency; not what it sets in place of them, at the level of requests (rates times 0.8 or 0.9, latency times 2.75 to 5)"

	wptSample = "catchpoint/WebPageTest, www/settings/connectivity.ini.sample"
	wptSite   = "webpagetest.org's list of connections, as in cto-ai/performance, src/constants/index.ts"
	wptDoubt  = "second hand: not in the sample file, and the site could not be looked up"

	firefox      = "mozilla/gecko-dev, devtools/client/shared/components/throttling/profiles.js (its K is 1024)"
	firefoxDoubt = "Firefox delays each response by its latency, once; that it is taken for a round trip is our reading"
)

func losing(p impair.Percent) impair.Loss { return impair.RandomLoss{Percent: p} }

// roundTrip completes a profile of a source that counts the round trip.
func roundTrip(p Profile, rtt time.Duration) Profile {
	p.Counted, p.mtu = countedRoundTrip, ethernet
	p.downDelay, p.upDelay = rtt/2, rtt/2
	return p
}

func appleLink(name, title string, down, up int64, downDelay, upDelay time.Duration, loss impair.Loss) Profile {
	return Profile{
		Name: "apple-" + name, Title: title, DownRate: down, UpRate: up, downDelay: downDelay, upDelay: upDelay,
		downLoss: loss, upLoss: loss, mtu: ethernet, Counted: countedOneWay, Source: apple, Doubt: appleDoubt,
	}
}

func chromeLink(name, title string, down, up int64, rtt time.Duration) Profile {
	return roundTrip(Profile{Name: "chrome-" + name, Title: title, DownRate: down, UpRate: up, Source: chrome}, rtt)
}

func wptLink(name, title, source, doubt string, down, up int64, rtt time.Duration) Profile {
	return roundTrip(Profile{Name: "wpt-" + name, Title: title, DownRate: down, UpRate: up, Source: source, Doubt: doubt}, rtt)
}

// firefoxLink takes rates in Firefox's kilobits, of 1024 bits.
func firefoxLink(name, title string, down, up int64, rtt time.Duration) Profile {
	const k = 1024
	return roundTrip(Profile{
		Name: "firefox-" + name, Title: title, DownRate: down * k, UpRate: up * k, Source: firefox, Doubt: firefoxDoubt,
	}, rtt)
}

var profiles = []Profile{
	appleLink("3g", "3G", 780*kbit, 330*kbit, 100*ms, 100*ms, nil),
	appleLink("dsl", "DSL", 2*mbit, 256*kbit, 5*ms, 5*ms, nil),
	appleLink("edge", "Edge", 240*kbit, 200*kbit, 400*ms, 440*ms, nil),
	appleLink("lte", "LTE", 50*mbit, 10*mbit, 50*ms, 65*ms, nil),
	appleLink("very-bad-network", "Very Bad Network", mbit, mbit, 500*ms, 500*ms, losing(10)),
	appleLink("wifi", "Wi-Fi", 40*mbit, 33*mbit, ms, ms, nil),
	appleLink("wifi-ac", "Wi-Fi 802.11ac", 250*mbit, 100*mbit, ms, ms, nil),
	appleLink("100-loss", "100% Loss", 0, 0, 0, 0, losing(100)),

	chromeLink("3g", "3G (before 2024: Slow 3G)", 500*kbit, 500*kbit, 400*ms),
	chromeLink("slow-4g", "Slow 4G (before 2024: Fast 3G)", 1600*kbit, 750*kbit, 150*ms),
	chromeLink("fast-4g", "Fast 4G", 9*mbit, 1500*kbit, 60*ms),

	wptLink("cable", "Cable", wptSample, "", 5*mbit, mbit, 28*ms),
	wptLink("dsl", "DSL", wptSample, "", 1500*kbit, 384*kbit, 50*ms),
	wptLink("fios", "FIOS", wptSample, "", 20*mbit, 5*mbit, 4*ms),
	wptLink("dial", "56K Dial-Up", wptSample, "", 49*kbit, 30*kbit, 120*ms),
	wptLink("edge", "Mobile Edge", wptSample, "", 240*kbit, 200*kbit, 840*ms),
	wptLink("3g", "Mobile 3G", wptSample, "", 1600*kbit, 768*kbit, 300*ms),
	wptLink("3g-fast", "Mobile 3G - Fast", wptSample, "", 1600*kbit, 768*kbit, 150*ms),
	wptLink("3g-slow", "Mobile 3G - Slow", wptSite,
		wptDoubt+"; the sample file has 780/330 kbit/s and 200 ms", 400*kbit, 400*kbit, 400*ms),
	wptLink("2g", "Mobile 2G", wptSite,
		wptDoubt+"; the sample file has 35/32 kbit/s and 1300 ms", 280*kbit, 256*kbit, 800*ms),
	wptLink("4g", "4G", wptSite, wptDoubt, 9*mbit, 9*mbit, 170*ms),
	wptLink("lte", "LTE", wptSite, wptDoubt, 12*mbit, 12*mbit, 70*ms),

	firefoxLink("gprs", "GPRS", 50, 20, 500*ms),
	firefoxLink("regular-2g", "Regular 2G", 250, 50, 300*ms),
	firefoxLink("good-2g", "Good 2G", 450, 150, 150*ms),
	firefoxLink("regular-3g", "Regular 3G", 750, 250, 100*ms),
	firefoxLink("good-3g", "Good 3G", 1536, 750, 40*ms),
	firefoxLink("regular-4g", "Regular 4G / LTE", 4096, 3072, 20*ms),
	firefoxLink("dsl", "DSL", 2048, 1024, 5*ms),
	firefoxLink("wifi", "Wi-Fi", 30*1024, 15*1024, 2*ms),

	roundTrip(Profile{
		Name: "satellite-geo", Title: "geostationary satellite (Viasat, 2021)", DownRate: 18_750 * kbit, UpRate: 2960 * kbit,
		Source: "Ookla's medians of Q3 2021, as in https://freestatefoundation.blogspot.com/2022/01/starlinks-performance-shows-prudence-of.html " +
			"(rates) and https://advanced-television.com/2021/12/22/starlink-speeds-under-pressure/ (latency). 629 ms is in line with the " +
			"477 to 568 ms of propagation, and about 600 in all, of https://labs.apnic.net/index.php/2022/04/28/using-leos-and-geos/",
		Doubt: "second hand; loss is not told, and taken for none",
	}, 629*ms),
	roundTrip(Profile{
		Name: "satellite-leo", Title: "low-orbit satellite (Starlink, 2021)", DownRate: 87_250 * kbit, UpRate: 13_540 * kbit,
		Source: "Ookla's medians of Q3 2021, as in https://freestatefoundation.blogspot.com/2022/01/starlinks-performance-shows-prudence-of.html. " +
			"Measured from Belgium in 2022 the median was 50 ms: https://blog.apnic.net/2022/11/28/fact-checking-starlinks-performance-figures",
		Doubt: "second hand; loss is not told, and taken for none; what changes at each handover is not in it",
	}, 44*ms),
	roundTrip(Profile{
		Name: "data-centre", Title: "between two racks of a data centre", DownRate: 10_000 * mbit, UpRate: 10_000 * mbit,
		Source: "M. Alizadeh and others, Data Center TCP, SIGCOMM 2010: 10 Gbit/s, and round trips below 250 us where nothing is queued",
		Doubt:  "the paper was quoted from memory; 100 us is our choice within its bound",
	}, 100*time.Microsecond),
	roundTrip(Profile{
		Name: "bad-wifi", Title: "Wi-Fi at the edge of its reach", DownRate: 20 * mbit, UpRate: 10 * mbit,
		// 1 % of packets begin a burst, which each packet ends with 20 %: bursts of 5, 4.76 % lost.
		downLoss: impair.SimpleGilbert(1, 20), upLoss: impair.SimpleGilbert(1, 20),
		Source: "the model: E. N. Gilbert, Capacity of a burst-noise channel, 1960",
		Doubt: "all figures are our choice, for teaching. Measured Wi-Fi has longer tails than the model: L. Carvalho and others, " +
			"A New Packet Loss Model of the IEEE 802.11g Wireless Network for Multimedia Communications, IEEE",
	}, 10*ms),
}
