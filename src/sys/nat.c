/* NAT: see nat.h.
 *
 * An accept in a table of ours does not overrule a drop in somebody else's (Docker sets the policy
 * of iptables' FORWARD chain to DROP), so when that policy is found, accepts go in there too. */
#include "sys/nat.h"
#include "sys/files.h"
#include "sys/proc.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/wait.h>

#define SAID_MAX 4096
#define FORWARD_FILE "/proc/sys/net/ipv4/ip_forward"

/* The names end up in a rule script: only what cannot be anything else. */
static int check_names(const char *bridge, const char *subnet, struct err *err) {
    size_t n = strlen(bridge);
    bool good = n > 0 && n <= 15;
    for (size_t i = 0; good && i < n; i++) {
        good = (bridge[i] >= 'a' && bridge[i] <= 'z') || (bridge[i] >= '0' && bridge[i] <= '9');
    }
    if (!good) {
        return err_set(err, ERR_INVALID_ARGUMENT, "bridge name %s: a-z and 0-9 only", bridge);
    }
    struct in_addr a;
    uint64_t prefix;
    struct str rest = str_of(subnet);
    auto_free char *host = str_dup(str_cut(&rest, '/'));
    if (inet_pton(AF_INET, host, &a) != 1 || !str_to_u64(rest, &prefix) || prefix > 32) {
        return err_set(err, ERR_INVALID_ARGUMENT, "%s is not a subnet", subnet);
    }
    return 0;
}

/* Runs a program; its complaint becomes the error. */
static int run(const char *path, char *const *argv, struct str input, struct buf *said,
               struct err *err) {
    int status;
    if (proc_run(path, argv, input, said, &status, err) < 0) {
        return -1;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        return 0;
    }
    struct str text = buf_str(said);
    auto_buf struct buf how = BUF_INIT(256);
    proc_exit_text(proc_exit_decode(status), &how);
    return err_set(err, ERR_FAILED_PRECONDITION, "%s: %s: %.*s", path, buf_cstr(&how),
                   STR_ARG(str_cut(&text, '\n')));
}

static int nft(const char *path, const char *script, struct err *err) {
    char *const argv[] = {(char *)path, "-f", "-", NULL};
    auto_buf struct buf said = BUF_INIT(SAID_MAX);
    return run(path, argv, str_of(script), &said, err);
}

static int nft_ensure(const char *path, const char *bridge, const char *subnet, struct err *err) {
    /* declare, delete, declare again: repeatable, and one transaction */
    auto_free char *script =
        xasprintf("table ip cusp_%s {}\n"
                  "delete table ip cusp_%s\n"
                  "table ip cusp_%s {\n"
                  "  chain postrouting {\n"
                  "    type nat hook postrouting priority 100; policy accept;\n"
                  "    ip saddr %s ip daddr != %s oifname != \"%s\" masquerade\n"
                  "  }\n"
                  "  chain forward {\n"
                  "    type filter hook forward priority 0; policy accept;\n"
                  "    iifname \"%s\" accept\n"
                  "    oifname \"%s\" ct state established,related accept\n"
                  "  }\n"
                  "}\n",
                  bridge, bridge, bridge, subnet, subnet, bridge, bridge, bridge);
    return nft(path, script, err);
}

/* One iptables rule; verb is put in front of it. */
static int rule(const char *path, const char *verb, const char *const *words, struct err *err) {
    const char *argv[24] = {path, "-w", "5"};
    size_t n = 3;
    for (size_t i = 0; words[i]; i++) {
        CHECK(n + 3 < NR_OF(argv));
        argv[n++] = words[i];
        if (i == 1) { /* after "-t TABLE" */
            argv[n++] = verb;
        }
    }
    auto_buf struct buf said = BUF_INIT(SAID_MAX);
    return run(path, (char *const *)argv, str_n(NULL, 0), &said, err);
}

#define NR_RULES 3
static void rules_of(const char *bridge, const char *subnet, const char *ret[NR_RULES][16]) {
    const char *const r[NR_RULES][16] = {
        {"-t", "nat", "POSTROUTING", "-s", subnet, "!", "-d", subnet, "-j", "MASQUERADE"},
        {"-t", "filter", "FORWARD", "-i", bridge, "-j", "ACCEPT"},
        {"-t", "filter", "FORWARD", "-o", bridge, "-m", "conntrack", "--ctstate",
         "RELATED,ESTABLISHED", "-j", "ACCEPT"},
    };
    memcpy(ret, r, sizeof(r));
}

static int iptables_ensure(const char *path, const char *bridge, const char *subnet, size_t from,
                           struct err *err) {
    const char *rules[NR_RULES][16];
    rules_of(bridge, subnet, rules);
    for (size_t i = from; i < NR_RULES; i++) {
        if (rule(path, "-C", rules[i], NULL) < 0 && rule(path, "-I", rules[i], err) < 0) {
            return -1;
        }
    }
    return 0;
}

static bool forward_drops(const char *path) {
    char *const argv[] = {(char *)path, "-w", "5", "-S", "FORWARD", NULL};
    auto_buf struct buf said = BUF_INIT(1u << 20);
    return run(path, argv, str_n(NULL, 0), &said, NULL) == 0 &&
           str_find(buf_str(&said), STR("-P FORWARD DROP")) >= 0;
}

int nat_ensure(const char *bridge, const char *subnet, const char **ret_how, struct err *err) {
    if (check_names(bridge, subnet, err) < 0) {
        return -1;
    }
    int e = file_poke(AT_FDCWD, FORWARD_FILE, "1");
    if (e < 0) {
        return err_sys(err, -e, "switch forwarding on (%s)", FORWARD_FILE);
    }
    auto_free char *nft_path = proc_find("nft");
    auto_free char *ipt_path = proc_find("iptables");
    struct err nft_err = {0};
    if (nft_path && nft_ensure(nft_path, bridge, subnet, &nft_err) == 0) {
        if (ipt_path && forward_drops(ipt_path) &&
            iptables_ensure(ipt_path, bridge, subnet, 1, err) < 0) {
            return -1;
        }
        *ret_how = "nft";
        return 0;
    }
    if (!ipt_path) {
        return nft_path
                   ? err_set(err, nft_err.code, "%s", nft_err.msg)
                   : err_set(err, ERR_FAILED_PRECONDITION, "neither nft nor iptables is installed");
    }
    if (iptables_ensure(ipt_path, bridge, subnet, 0, err) < 0) {
        return nft_path ? err_wrap(err, "%s; then", nft_err.msg) : -1;
    }
    *ret_how = "iptables";
    return 0;
}

int nat_remove(const char *bridge, const char *subnet, struct err *err) {
    if (check_names(bridge, subnet, err) < 0) {
        return -1;
    }
    auto_free char *nft_path = proc_find("nft");
    auto_free char *ipt_path = proc_find("iptables");
    if (nft_path) {
        auto_free char *script =
            xasprintf("table ip cusp_%s {}\ndelete table ip cusp_%s\n", bridge, bridge);
        if (nft(nft_path, script, err) < 0) {
            return -1;
        }
    }
    const char *rules[NR_RULES][16];
    rules_of(bridge, subnet, rules);
    for (size_t i = 0; ipt_path && i < NR_RULES; i++) {
        (void)!rule(ipt_path, "-D", rules[i], NULL); /* mostly not there */
    }
    return 0;
}
