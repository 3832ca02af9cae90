// Kubeflow Trainer's controller manager, put together from its own packages as its own main does, but for three
// things: certificates come from a folder instead of a rotator that needs a pod, and the client's rate and the number
// of workers, for which it has no flags, come from the environment (unset: its defaults).
package main

import (
	"crypto/tls"
	"flag"
	"os"
	"strconv"

	"go.uber.org/zap/zapcore"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlpkg "sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	jobset "sigs.k8s.io/jobset/api/jobset/v1alpha2"
	scheduling "sigs.k8s.io/scheduler-plugins/apis/scheduling/v1alpha1"

	trainer "github.com/kubeflow/trainer/v2/pkg/apis/trainer/v1alpha1"
	"github.com/kubeflow/trainer/v2/pkg/controller"
	runtimecore "github.com/kubeflow/trainer/v2/pkg/runtime/core"
	webhooks "github.com/kubeflow/trainer/v2/pkg/webhooks"
)

func main() {
	port := flag.Int("webhook-port", 9443, "port of the webhooks")
	certificates := flag.String("cert-dir", "", "folder of tls.crt and tls.key")
	probes := flag.String("health-probe-bind-address", ":8081", "address of /readyz")
	flag.Parse()
	ctrl.SetLogger(zap.New(zap.UseFlagOptions(&zap.Options{TimeEncoder: zapcore.RFC3339NanoTimeEncoder})))

	scheme := apiruntime.NewScheme()
	for _, add := range []func(*apiruntime.Scheme) error{
		clientgoscheme.AddToScheme, trainer.AddToScheme, jobset.AddToScheme, scheduling.AddToScheme,
	} {
		utilruntime.Must(add(scheme))
	}
	config := ctrl.GetConfigOrDie()
	if qps := number("PEER_QPS"); qps > 0 {
		config.QPS, config.Burst = float32(qps), 2*qps
	}
	http1 := func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                 scheme,
		Client:                 client.Options{Cache: &client.CacheOptions{Unstructured: true}},
		Metrics:                metricsserver.Options{BindAddress: "0"},
		WebhookServer:          webhook.NewServer(webhook.Options{Host: "127.0.0.1", Port: *port, CertDir: *certificates, TLSOpts: []func(*tls.Config){http1}}),
		HealthProbeBindAddress: *probes,
	})
	utilruntime.Must(err)
	utilruntime.Must(mgr.AddReadyzCheck("readyz", mgr.GetWebhookServer().StartedChecker()))
	utilruntime.Must(mgr.AddHealthzCheck("healthz", healthz.Ping))
	ctx := ctrl.SetupSignalHandler()
	runtimes, err := runtimecore.New(ctx, mgr.GetClient(), mgr.GetFieldIndexer())
	utilruntime.Must(err)
	_, err = controller.SetupControllers(mgr, runtimes, ctrlpkg.Options{MaxConcurrentReconciles: number("PEER_WORKERS")})
	utilruntime.Must(err)
	_, err = webhooks.Setup(mgr, runtimes)
	utilruntime.Must(err)
	utilruntime.Must(mgr.Start(ctx))
}

// number is an environment variable's value; 0, which means the default everywhere, when it is unset.
func number(variable string) int {
	value, err := strconv.Atoi(os.Getenv(variable))
	if os.Getenv(variable) == "" {
		return 0
	}
	utilruntime.Must(err)
	return value
}
