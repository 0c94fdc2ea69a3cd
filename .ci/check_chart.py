"""The Helm chart: what is also elsewhere in the repository is the same there; helm takes it, with no values and with all
kinds of them; and the broker takes what it renders.

Usage: check_chart.py BINARY [HELM], run by a Python that has PyYAML. Without helm its part is left out.
"""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import yaml

from broker import check, free_port, say

ROOT = pathlib.Path(__file__).resolve().parent.parent
CHART = ROOT / "packaging" / "helm" / "taffrail"
FULL = ROOT / ".ci" / "chart_values.yaml"
START_SECONDS = 30


def main():
    binary = pathlib.Path(sys.argv[1]).resolve()
    helm = sys.argv[2] if len(sys.argv) > 2 else shutil.which("helm")
    same_as_elsewhere(binary)
    if not helm:
        say("SKIPPED: the chart with helm: there is no helm")
        return
    for values in ([], ["--values", FULL]):
        lint = subprocess.run([helm, "lint", "--strict", *values, CHART], stdout=subprocess.PIPE, text=True)
        check(lint.returncode == 0, f"helm lint: {lint.stdout}")
    plain, full = rendered(helm), rendered(helm, "--values", FULL)
    check(sorted(plain) == ["ConfigMap", "Service", "StatefulSet"], f"without values it makes {sorted(plain)}")
    added = sorted(set(full) - set(plain))
    check(added == ["PrometheusRule", "ServiceMonitor"], f"with all values it also makes {added}")
    for made in (plain, full):
        fits_the_image(made)
    rules = yaml.safe_load((CHART / "alerts.yml").read_text())
    check(full["PrometheusRule"]["spec"] == rules, "the PrometheusRule has other rules")
    serves(binary, plain)
    serves(binary, full)
    refused = subprocess.run([helm, "template", "r", CHART, "--set", "tls.clientCa=ca.crt"], stderr=subprocess.PIPE, text=True)
    check("tls.clientCa needs tls.secretName" in refused.stderr, f"clientCa without a secret: {refused.stderr}")
    say("helm takes the chart, and the broker what it renders")


def same_as_elsewhere(binary):
    alerts = subprocess.run([binary, "dashboard", "--alerts"], check=True, stdout=subprocess.PIPE).stdout
    told = "the chart has other rules: taffrail dashboard --alerts > packaging/helm/taffrail/alerts.yml"
    check((CHART / "alerts.yml").read_bytes() == alerts, told)
    version = re.search(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    check(chart["appVersion"] == version, f"appVersion is {chart['appVersion']}, and the broker {version}")
    say("the chart has the version and the rules of the broker")


def rendered(helm, *options):
    """What the chart makes, by kind."""
    command = [helm, "template", "shop", CHART, "--namespace", "events", *options]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    made = [each for each in yaml.safe_load_all(text) if each]
    check(all(each["metadata"]["name"] == "shop-taffrail" for each in made), "names differ")
    return {each["kind"]: each for each in made}


def pod(made):
    return made["StatefulSet"]["spec"]["template"]["spec"]


def fits_the_image(made):
    """Ports, the volume, the user and the entry point are those of the Dockerfile."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    container = pod(made)["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    exposed = re.search(r"^EXPOSE (\d+) (\d+)$", dockerfile, re.MULTILINE)
    check(list(ports.values()) == [int(exposed[1]), int(exposed[2])], f"the ports are {ports}")
    targets = [port["targetPort"] for port in made["Service"]["spec"]["ports"]]
    check(targets == list(ports), f"the service is for {targets}")
    labels = made["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    check(made["Service"]["spec"]["selector"].items() <= labels.items(), "the service does not select the pod")
    volume = re.search(r"^VOLUME (.*)$", dockerfile, re.MULTILINE)[1]
    check(environment(made)["TAFFRAIL_DATA_DIR"] == volume, "the data is not on the volume")
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    writable = [path for path, mount in mounts.items() if not mount.get("readOnly")]
    check(writable == [volume], f"it can write to {writable}")
    check(container["securityContext"]["readOnlyRootFilesystem"], "it can write to the root file system")
    check(pod(made)["securityContext"]["runAsNonRoot"], "it runs as root")
    check("command" not in container and container["args"][0] == "serve", "the entry point is another one")
    check(not pod(made)["enableServiceLinks"], "the cluster's variables would be taken for settings")


def environment(made):
    return {each["name"]: each["value"] for each in pod(made)["containers"][0]["env"]}


def serves(binary, made):
    """The broker with the rendered file and variables, in places that are free here."""
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        for name, text in made["ConfigMap"]["data"].items():
            (scratch / name).write_text(text)
        variables = environment(made)
        if variables.get("TAFFRAIL_TLS_CERTIFICATE"):
            make_secret(scratch)
        variables = {name: here(value, scratch) for name, value in variables.items()}
        variables |= {"TAFFRAIL_LISTEN": f"127.0.0.1:{free_port()}", "TAFFRAIL_HTTP_LISTEN": "127.0.0.1:0"}
        container = {**os.environ, **variables}
        config = scratch / "taffrail.toml"
        config.write_text(here(config.read_text(), scratch))
        log = scratch / "log"
        command = [binary, "serve", "--config", config]
        with log.open("w") as errors:
            serve = subprocess.Popen(command, env=container, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            line = serve.stdout.readline()
            said = log.read_text()
            check("listening" in line, f"the broker does not take it:\n{said}")
            check("has no effect" not in said, f"a setting of the chart is none:\n{said}")
            socket = ["--server", f"unix:{variables['TAFFRAIL_DATA_DIR']}"]
            ready = subprocess.run([binary, "status", "--check", *socket], env=container, stdout=subprocess.DEVNULL)
            check(ready.returncode == 0, f"`taffrail status --check` ended with code {ready.returncode}")
            serve.send_signal(signal.SIGTERM)
            code = serve.wait(timeout=START_SECONDS)
            check(code == 0, f"it ended with code {code} after SIGTERM")
        finally:
            if serve.poll() is None:
                serve.kill()
                serve.wait()


def here(text, scratch):
    """Paths of the container, in a folder of this machine."""
    for path, name in (("/etc/taffrail-tls", ""), ("/etc/taffrail", ""), ("/data", "/data")):
        text = re.sub(rf"(?<![\w/]){path}(?![\w-])", f"{scratch}{name}", text)
    return text


def make_secret(scratch):
    """A certificate as the secret would have it; as that of an authority for clients it does, too."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "100"]
    files = ["-subj", "/CN=taffrail", "-addext", "subjectAltName=DNS:localhost"]
    places = ["-keyout", scratch / "tls.key", "-out", scratch / "tls.crt"]
    subprocess.run([*command, *files, *places], check=True, stderr=subprocess.DEVNULL)
    shutil.copy(scratch / "tls.crt", scratch / "ca.crt")


main()
