package results

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// writeGitHub writes annotations as workflow commands, one a line, for the log of a step of GitHub Actions: an error for each
// scenario that failed, at its place in the source where that is below the working directory, then a warning for each that
// kept its guest too busy, and a notice for each reason of a skip and for the tally. GitHub shows the first ten of a kind.
// https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions
func writeGitHub(w io.Writer, report Report) error {
	var out strings.Builder
	add := func(command, properties, title, message string) {
		fmt.Fprintf(&out, "::%s %stitle=%s::%s\n", command, properties, githubProperty(printable(title)), githubData(message))
	}
	several := len(sections(report.Records)) > 1
	title := func(r *Record) string {
		name := r.Suite + ": " + r.Scenario
		if several {
			name += " (" + r.Origin().String() + ")"
		}
		return name
	}
	for _, d := range report.doubts() {
		add("error", "", "tcplab", d.text)
	}
	for _, r := range report.Records {
		if r.Verdict.Failed() {
			add("error", githubPlace(r.Failure), title(r), explain(r, mostMessage))
		}
	}
	for _, r := range report.Records {
		if busy := tooBusy(r); busy != "" {
			add("warning", "", title(r), busy)
		}
	}
	for _, s := range skips(report.Records) {
		add("notice", "", "skipped", printable(s.String()))
	}
	add("notice", "", "tcplab", Count(report.Records).String())
	_, err := io.WriteString(w, out.String())
	return err
}

// What the runner of GitHub decodes in a message, and in a property, which a colon or a comma would end.
var (
	githubMessage = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	githubValue   = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

func githubData(s string) string     { return githubMessage.Replace(s) }
func githubProperty(s string) string { return githubValue.Replace(s) }

// place is a line of a file, as failures tell of it.
var place = regexp.MustCompile(`^(.+):([0-9]+)$`)

// githubPlace are the properties of a failure's place, each with its comma, or empty where GitHub could not find it.
func githubPlace(f *Failure) string {
	if f == nil {
		return ""
	}
	parts := place.FindStringSubmatch(printable(f.Location))
	if parts == nil {
		return ""
	}
	file := sourceFile(parts[1])
	if file == "" {
		return ""
	}
	return fmt.Sprintf("file=%s,line=%s,", githubProperty(file), parts[2])
}

// sourceFile finds a file as seen from the folder that GitHub checked out, which is the working directory unless the
// environment says otherwise. A suite that was compiled reproducibly has the module's path in front of it. Empty: it is
// not below the working directory.
func sourceFile(file string) string {
	here, err := os.Getwd()
	if err != nil {
		return ""
	}
	found := ""
	for rest, more := file, true; more && found == ""; _, rest, more = strings.Cut(rest, "/") {
		path := rest
		if !filepath.IsAbs(path) {
			path = filepath.Join(here, path)
		}
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && rest != "" {
			found = path
		}
	}
	root := here
	if workspace := os.Getenv("GITHUB_WORKSPACE"); workspace != "" {
		root = workspace
	}
	relative, err := filepath.Rel(root, found)
	if found == "" || err != nil || !filepath.IsLocal(relative) {
		return ""
	}
	return filepath.ToSlash(relative)
}
