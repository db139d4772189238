package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"go.yaml.in/yaml/v3"

	"github.com/tcplab/tcplab/internal/sweep"
	"github.com/tcplab/tcplab/internal/vm/vmtest"
)

const deploy = "../../deploy"

// job is what of deploy/kubernetes.yaml has to be right (Kubernetes API v1 and batch/v1). A field that is misspelt is refused.
type job struct {
	APIVersion string            `yaml:"apiVersion"`
	Kind       string            `yaml:"kind"`
	Metadata   map[string]string `yaml:"metadata"`
	Data       map[string]string `yaml:"data"` // of a ConfigMap
	Spec       struct {
		AccessModes          []string       `yaml:"accessModes"` // of a volume claim
		Resources            map[string]any `yaml:"resources"`
		CompletionMode       string         `yaml:"completionMode"`
		Completions          int            `yaml:"completions"`
		Parallelism          int            `yaml:"parallelism"`
		BackoffLimitPerIndex int            `yaml:"backoffLimitPerIndex"`
		Template             struct {
			Spec struct {
				RestartPolicy string `yaml:"restartPolicy"`
				Containers    []struct {
					Name         string              `yaml:"name"`
					Image        string              `yaml:"image"`
					Command      []string            `yaml:"command"`
					Args         []string            `yaml:"args"`
					Env          []map[string]string `yaml:"env"`
					Resources    map[string]any      `yaml:"resources"`
					VolumeMounts []map[string]string `yaml:"volumeMounts"`
				} `yaml:"containers"`
				Volumes []struct {
					Name      string            `yaml:"name"`
					ConfigMap map[string]string `yaml:"configMap"`
					Claim     map[string]string `yaml:"persistentVolumeClaim"`
				} `yaml:"volumes"`
			} `yaml:"spec"`
		} `yaml:"template"`
	} `yaml:"spec"`
}

func kubernetes(t *testing.T) (config, claim, indexed job) {
	t.Helper()
	file, err := os.Open(filepath.Join(deploy, "kubernetes.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	decoder := yaml.NewDecoder(file)
	decoder.KnownFields(true)
	var all []job
	for {
		var one job
		err := decoder.Decode(&one)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
	if len(all) != 3 {
		t.Fatalf("%d documents", len(all))
	}
	return all[0], all[1], all[2]
}

func read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(deploy, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// The Job has each index measured by its shard, and all that it mounts is there.
func TestKubernetesJob(t *testing.T) {
	g := NewWithT(t)
	config, claim, indexed := kubernetes(t)
	g.Expect([]string{config.Kind, claim.Kind, indexed.Kind}).To(Equal([]string{"ConfigMap", "PersistentVolumeClaim", "Job"}))
	g.Expect([]string{config.APIVersion, claim.APIVersion, indexed.APIVersion}).To(Equal([]string{"v1", "v1", "batch/v1"}))
	g.Expect(config.Data).To(Equal(map[string]string{"sweep.yaml": read(t, "sweep.yaml"), "shard.sh": read(t, "shard.sh")}))
	g.Expect(indexed.Spec.CompletionMode).To(Equal("Indexed"))
	g.Expect(indexed.Spec.Template.Spec.RestartPolicy).To(Equal("Never"))
	container := indexed.Spec.Template.Spec.Containers[0]
	g.Expect(container.Env).To(Equal([]map[string]string{{"name": "SHARDS", "value": fmt.Sprint(indexed.Spec.Completions)}}))
	volumes := map[string]bool{}
	for _, v := range indexed.Spec.Template.Spec.Volumes {
		volumes[v.Name] = true
		if v.ConfigMap != nil {
			g.Expect(v.ConfigMap["name"]).To(Equal(config.Metadata["name"]))
		} else {
			g.Expect(v.Claim["claimName"]).To(Equal(claim.Metadata["name"]))
		}
	}
	for _, m := range container.VolumeMounts {
		g.Expect(volumes).To(HaveKey(m["name"]))
	}
	text, err := sweep.ReadText(strings.NewReader(config.Data["sweep.yaml"]))
	g.Expect(err).NotTo(HaveOccurred())
	grid, err := text.Grid("")
	g.Expect(err).NotTo(HaveOccurred())
	cells, err := grid.Cells()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(len(cells)).To(BeNumerically(">=", indexed.Spec.Completions), "a shard without a cell")
}

// node runs what a machine of a cluster would, with tcplab in its PATH, and sbatch, which writes what it was asked for.
type node struct {
	t        *testing.T
	dir, bin string
}

func newNode(t *testing.T) node {
	t.Helper()
	m := node{t: t, dir: t.TempDir(), bin: t.TempDir()}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, script := range map[string]string{
		"tcplab": "#!/bin/sh\n" + commandVariable + "=1 exec " + self + " \"$@\"\n",
		"sbatch": "#!/bin/sh\necho \"$@\" >>" + filepath.Join(m.dir, "queued") + "\n",
	} {
		if err := os.WriteFile(filepath.Join(m.bin, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"shard.sh", "slurm.sh"} {
		m.write(name, read(t, name))
	}
	m.write("sweep.yaml", "cc: [cubic, bbr, reno]\nrate: 5mbit\nrtt: 20ms\nduration: 2s\n")
	return m
}

func (m node) write(name, content string) {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, name), []byte(content), 0o755); err != nil {
		m.t.Fatal(err)
	}
}

func (m node) run(env []string, command ...string) (string, error) {
	c := exec.Command(command[0], command[1:]...)
	c.Dir = m.dir
	c.Env = append(append(os.Environ(), "PATH="+m.bin+":"+os.Getenv("PATH")), env...)
	output, err := c.CombinedOutput()
	return string(output), err
}

// result is what the command prints.
func (m node) result(args ...string) sweep.Result {
	m.t.Helper()
	c := process(args...)
	c.Dir = m.dir
	output, err := c.Output()
	if err != nil {
		m.t.Fatalf("%v: %v", args, err)
	}
	var r sweep.Result
	if err := json.Unmarshal(output, &r); err != nil {
		m.t.Fatal(err)
	}
	return r
}

// The same shards as processes here: by the Job's own command, by the Slurm script, and merged they are what one machine measures.
func TestShardsAsProcesses(t *testing.T) {
	vmtest.NeedGuests(t)
	if testing.Short() {
		t.Skip("boots guests")
	}
	g := NewWithT(t)
	m := newNode(t)
	_, _, indexed := kubernetes(t)
	container := indexed.Spec.Template.Spec.Containers[0]
	command := strings.NewReplacer("/sweep/", m.dir+"/", " /parts", " "+m.dir+"/kubernetes", "--jobs 2", "--jobs 1", "/tmp/results", m.dir+"/results").Replace(container.Args[0])
	for index := range 3 {
		output, err := m.run([]string{fmt.Sprintf("JOB_COMPLETION_INDEX=%d", index), "SHARDS=3"}, append(container.Command, command)...)
		g.Expect(err).NotTo(HaveOccurred(), output)
	}
	for task := 5; task <= 7; task++ { // an array need not begin at 1
		output, err := m.run([]string{
			fmt.Sprintf("SLURM_ARRAY_TASK_ID=%d", task), "SLURM_ARRAY_TASK_MIN=5", "SLURM_ARRAY_TASK_COUNT=3", "SLURM_ARRAY_JOB_ID=77", "SLURM_SUBMIT_DIR=" + m.dir,
			"SLURM_CPUS_PER_TASK=1",
		}, "./slurm.sh", "sweep.yaml", "slurm")
		g.Expect(err).NotTo(HaveOccurred(), output)
	}
	queued, err := os.ReadFile(filepath.Join(m.dir, "queued"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(queued)).To(Equal("--job-name=tcplab-merge --dependency=afterok:77 --wrap=tcplab merge slurm/*.json --json > slurm.json\n"))

	whole := m.result("sweep", "-f", "sweep.yaml", "--json", "--jobs", "1")
	g.Expect(whole.Points).To(HaveLen(3))
	for _, folder := range []string{"kubernetes", "slurm"} {
		var parts []string
		for n := range 3 {
			parts = append(parts, filepath.Join(m.dir, folder, fmt.Sprintf("%d.json", n+1)))
		}
		g.Expect(m.result(append([]string{"merge", "--json"}, parts...)...)).To(Equal(whole), folder)
		left, err := os.ReadDir(filepath.Join(m.dir, folder))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(left).To(HaveLen(3), "nothing else")
	}
}

// A part that failed leaves nothing that would be merged.
func TestShardThatFails(t *testing.T) {
	g := NewWithT(t)
	m := newNode(t)
	output, err := m.run(nil, "./shard.sh", "4", "3", "sweep.yaml", "parts")
	g.Expect(err).To(HaveOccurred())
	g.Expect(output).To(ContainSubstring(`"4/3": write it as 3/16`))
	left, err := os.ReadDir(filepath.Join(m.dir, "parts"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(left).To(BeEmpty())
}
