// Command kube is the whole control plane in one static binary: etcd and its tools, the API server,
// the controller manager, the scheduler and kubectl, each behind its own subcommand.
//
// It holds no logic of its own. Every subcommand hands the remaining arguments to the upstream
// program of that name, so flags, help texts and behaviour are those of upstream. Supervision,
// certificates and flags belong to the Python side, which starts one process per subcommand.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
	_ "time/tzdata"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/etcdctl/v3/ctlv3"
	"go.etcd.io/etcd/etcdutl/v3/etcdutl"
	"go.etcd.io/etcd/server/v3/embed"

	_ "k8s.io/client-go/plugin/pkg/client/auth"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	"k8s.io/component-base/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

const usage = `usage: kube etcd | etcdctl | etcdutl | apiserver | controller-manager | scheduler | kubectl | version [flags]`

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	part := os.Args[1]
	// Upstream commands read os.Args themselves: the subcommand becomes the program's name.
	os.Args = append([]string{part}, os.Args[2:]...)
	os.Exit(run(part))
}

func run(part string) int {
	switch part {
	case "etcd":
		return runEtcd(os.Args[1:])
	case "etcdctl":
		ctlv3.MustStart()
		return 0
	case "etcdutl":
		return runEtcdutl()
	case "apiserver":
		return cli.Run(apiserver.NewAPIServerCommand())
	case "controller-manager":
		return cli.Run(controllermanager.NewControllerManagerCommand())
	case "scheduler":
		return cli.Run(scheduler.NewSchedulerCommand())
	case "kubectl":
		return runKubectl()
	case "version":
		fmt.Println(version.Get().GitVersion)
		return 0
	}
	fmt.Fprintf(os.Stderr, "kube: no part is called %q\n%s\n", part, usage)
	return 2
}

func runKubectl() int {
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err) // prints as kubectl does and exits with kubectl's code
	}
	return 0
}

// runEtcdutl is etcd's own tool for files, as far as it is needed: its main package cannot be imported.
func runEtcdutl() int {
	tool := &cobra.Command{Use: "etcdutl"}
	tool.PersistentFlags().StringVarP(&etcdutl.OutputFormat, "write-out", "w", "simple", "json or table")
	tool.AddCommand(etcdutl.NewSnapshotCommand(), etcdutl.NewDefragCommand())
	if err := tool.Execute(); err != nil {
		return 1 // the command has said why
	}
	return 0
}

// runEtcd serves one member with fsync on; only what the supervisor needs is a flag.
func runEtcd(args []string) int {
	flags := flag.NewFlagSet("etcd", flag.ExitOnError)
	configFile := flags.String("config-file", "", "path of an etcd YAML configuration file")
	startTimeout := flags.Duration("start-timeout", time.Minute, "give up when not serving by then")
	_ = flags.Parse(args) // ExitOnError

	if *configFile == "" {
		fmt.Fprintln(os.Stderr, "etcd: --config-file is required")
		return 2
	}
	config, err := embed.ConfigFromFile(*configFile)
	if err != nil {
		fmt.Fprintf(os.Stderr, "etcd: %v\n", err)
		return 2
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)

	server, err := embed.StartEtcd(config)
	if err != nil {
		fmt.Fprintf(os.Stderr, "etcd: %v\n", err)
		return 1
	}
	defer server.Close()
	select {
	case <-server.Server.ReadyNotify():
	case <-stop:
		return 0
	case <-time.After(*startTimeout):
		fmt.Fprintf(os.Stderr, "etcd: not serving after %v\n", *startTimeout)
		server.Server.Stop()
		return 1
	}
	select {
	case <-stop:
		return 0
	case err := <-server.Err():
		fmt.Fprintf(os.Stderr, "etcd: %v\n", err)
		return 1
	case <-server.Server.StopNotify():
		return 1
	}
}
