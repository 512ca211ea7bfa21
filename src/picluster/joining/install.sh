#!/bin/sh
# Makes this board a machine of a picluster pool. Says what it will do, then does it; run it again to update.
#
#   curl -fsSL https://lab/install.sh | sudo sh -s -- --token pc_join_...
#
# All of it is functions, and the last line calls the first: a download that breaks half-way does nothing.

main() {
    set -eu
    umask 022
    LC_ALL=C
    export LC_ALL
    # Of the person who runs this, not of the board.
    unset PICLUSTER_URL PICLUSTER_TOKEN PICLUSTER_TOKEN_FILE PICLUSTER_NAME PICLUSTER_LABELS PICLUSTER_ADDRESS \
        PICLUSTER_CA_FILE PICLUSTER_STATE PICLUSTER_ENFORCE PICLUSTER_SSH_USER PICLUSTER_SSH_PORT

    # The service writes its own address, and the digest of its agent, between these quotes.
    served_url=''
    served_sha256=''

    folder=/usr/local/lib/picluster
    pyz=$folder/picluster-agent.pyz
    settings=/etc/picluster
    unit=/etc/systemd/system/picluster-agent.service
    drop_in=/etc/ssh/sshd_config.d/10-picluster.conf
    made_by_us='picluster holders'

    read_options "$@"
    if [ -n "$uninstall" ]; then
        plan_removal
        [ -z "$dry_run" ] || exit 0
        need_root
        remove
    else
        find_service
        find_python
        find_mode
        [ -n "$token" ] || [ -e "$settings/token" ] ||
            misused '--token is needed: "picluster join" prints one.'
        plan
        [ -z "$dry_run" ] || exit 0
        need_root
        install
    fi
}

help() {
    cat <<'END'
Usage: install.sh [OPTIONS]

Make this board a machine of a picluster pool. Run it again to update.

  --token TOKEN     A join token; `picluster join` prints one. Else from PICLUSTER_JOIN_TOKEN.
  --url ADDRESS     Where the service is; where this script came from unless said. Several with commas.
  --name NAME       What the machine is called in the pool; the host name unless said.
  --labels camera,rack=b
                    Labels beside those that the agent finds by looking.
  --enforce         Let in only who has the lease: makes an account for holders, and tells the SSH server about it.
  --or-advisory     With --enforce: where that is not possible, go on without.
  --advisory        Go back to a board that lets everybody in.
  --account NAME    The account for holders; picluster unless said.
  --ca-file FILE    Whom to trust under https, if not the authorities of this system.
  --insecure        Allow plain http: whoever listens on the network can read tokens and change what runs here.
  --no-start        Install and join, but do not start the agent now.
  --dry-run         Only say what would be done.
  --uninstall       Stop the agent and remove all of this.
  -h, --help

Exit codes: 0 done, 1 failed, 2 usage, 4 the service refused, 6 the service is away: try again later.
END
}

# Saying

say() { printf '%s\n' "$*"; }

step() { printf '==> %s\n' "$*"; }

fail() {
    printf 'install.sh: %s\n' "$@" >&2
    exit 1
}

misused() {
    printf 'install.sh: %s\n' "$@" '--help says what there is.' >&2
    exit 2
}

# Options

read_options() {
    token=${PICLUSTER_JOIN_TOKEN-} url='' name='' labels='' account='' ca_file=''
    enforce='' or_advisory='' advisory='' insecure='' start=yes dry_run='' uninstall=''
    while [ $# -gt 0 ]; do
        case $1 in
            --*=*)
                option=${1%%=*} value=${1#*=}
                shift
                set -- "$option" "$value" "$@"
                continue
                ;;
            --token | --url | --name | --labels | --account | --ca-file)
                [ $# -gt 1 ] || misused "$1 needs a value."
                take "$1" "$2"
                shift
                ;;
            --enforce) enforce=yes ;;
            --or-advisory) or_advisory=yes ;;
            --advisory) advisory=yes ;;
            --insecure) insecure=yes ;;
            --no-start) start='' ;;
            --dry-run) dry_run=yes ;;
            --uninstall) uninstall=yes ;;
            -h | --help)
                help
                exit 0
                ;;
            *) misused "$1 is not an option." ;;
        esac
        shift
    done
    unset PICLUSTER_JOIN_TOKEN
    [ -z "$enforce" ] || [ -z "$advisory" ] || misused '--enforce and --advisory exclude each other.'
    case $account in
        *[!a-z0-9_-]* | [0-9-]* | root) misused "--account: that is no name for an account." ;;
    esac
}

take() {
    case $1 in
        --token) token=$2 ;;
        --url) url=$2 ;;
        --name) name=$2 ;;
        --labels) labels=$2 ;;
        --account) account=$2 ;;
        --ca-file) ca_file=$2 ;;
    esac
}

# Finding out

find_service() {
    [ -n "$url" ] || url=$served_url
    [ -n "$url" ] || url=$(setting PICLUSTER_URL)
    [ -n "$url" ] || url=$(old_address)
    [ -n "$url" ] || misused '--url is needed: where is the service?'
    case $url in
        *[!A-Za-z0-9.:/_,~%[\]-]*) misused '--url: that is no address; it looks like https://lab.' ;;
    esac
    # Each of them: the agent takes what has no scheme for http.
    for one in $(say "$url" | tr , ' '); do
        case $one in
            https://*) ;;
            http://*) [ -n "$insecure" ] || refuse_http ;;
            *) misused "--url: $one lacks http:// or https://." ;;
        esac
    done
    [ -n "$ca_file" ] || ca_file=$(setting PICLUSTER_CA_FILE)
    [ -z "$ca_file" ] || [ -r "$ca_file" ] || misused "--ca-file: $ca_file cannot be read."
    base=${url%%,*}
    base=${base%/}
    base=${base%/v1}
    base=${base%/api}
    base=${base%/}
}

refuse_http() {
    printf 'install.sh: %s\n' >&2 \
        "$url is not encrypted: whoever is on the network between can read the token, and can send this board" \
        'a program of their own. Use https, or say --insecure if you trust that network.'
    exit 2
}

# A value of the settings that an earlier run has written.
setting() {
    [ ! -r "$settings/agent.conf" ] || sed -n "s/^$1=//p" "$settings/agent.conf" | tail -n 1
}

homes() {
    printf '%s\n' /root /home/pi
    if [ -n "${SUDO_USER-}" ] && command -v getent >/dev/null; then
        getent passwd "$SUDO_USER" | cut -d: -f6
    fi
}

# The service of the old monitor; its shared key is left where it is.
old_address() {
    found=$(homes | while read -r home; do
        [ ! -r "$home/.cluster" ] ||
            sed -n "s/^ *export  *RPI_CLUSTER=[\"']*\([^\"' ]*\).*/\1/p" "$home/.cluster"
    done | head -n 1)
    case $found in
        '' | *://*) say "$found" ;;
        *) say "http://$found" ;;
    esac
}

find_python() {
    for python in /usr/bin/python3 "$(command -v python3 || true)"; do
        [ -x "$python" ] && suits "$python" && return
    done
    command -v python3 >/dev/null || fail 'Python is missing. As root: apt install python3'
    python3 -I -c 'import sys; sys.exit(sys.version_info < (3, 9))' ||
        fail "Python 3.9 or later is needed; this is $(python3 -V 2>&1). A newer system brings it."
    fail 'Python is here, but not all of its library. As root: apt install python3'
}

suits() {
    "$1" -I -c 'import sys, json, socket, ssl, threading, urllib.request, zipimport, zlib
sys.exit(sys.version_info < (3, 9))' 2>/dev/null
}

# What an earlier run made of the board stays, unless somebody says otherwise.
find_mode() {
    if [ -z "$enforce$advisory" ] && [ -r "$unit" ] && grep -q -e '--enforce' "$unit"; then
        enforce=yes
    fi
    [ -n "$account" ] || account=$(setting PICLUSTER_SSH_USER)
    [ -z "$enforce" ] || [ -n "$account" ] || account=picluster
    systemd=''
    [ ! -d /run/systemd/system ] || systemd=yes
    [ -z "$enforce" ] || [ -n "$systemd" ] || fail '--enforce needs systemd, which does not run here.'
    [ -z "$enforce" ] || command -v sshd >/dev/null || [ -x /usr/sbin/sshd ] ||
        fail '--enforce needs an SSH server. As root: apt install openssh-server'
}

# Saying what will be done

plan() {
    say "This makes this board a machine of the pool at $url. It will"
    say "  - download the agent from $base/picluster-agent.pyz to $pyz"
    if [ -n "$token" ]; then
        say "  - join${name:+ as $name} with your join token, and keep a token of the board's own in $settings/token"
    else
        say "  - go on with the token in $settings/token"
    fi
    say "  - keep the settings in $settings/agent.conf, and what you added there"
    [ -z "$ca_file" ] || say "  - trust the authority in $ca_file, of which it keeps a copy in $settings/ca.pem"
    [ -z "$enforce" ] || plan_enforcing
    if [ -n "$systemd" ]; then
        say "  - make the service picluster-agent ($unit)${start:+ and start it}"
    fi
    plan_old_monitor
    say ''
}

plan_enforcing() {
    say "  - make the account $account for whoever has the lease: no password, no sudo; it is emptied after each lease"
    say "  - write $drop_in, so that only the lease's keys are let in to it, and reload the SSH server"
}

plan_old_monitor() {
    found=$(old_lines)
    [ -n "$found" ] || return 0
    say ''
    say 'An old monitor seems to be started here. Nothing of that is changed; take these lines out yourself'
    say 'when the board is in the new list:'
    say "$found"
}

# Where a boot script, a crontab, a unit or a shell starts the monitor that the agent replaces.
old_lines() {
    {
        printf '%s\n' /etc/rc.local /etc/crontab
        find /etc/cron.d /var/spool/cron/crontabs /etc/systemd/system -maxdepth 1 -type f 2>/dev/null || true
        homes | while read -r home; do
            printf '%s\n' "$home/.bashrc" "$home/.profile" "$home/.config/autostart/monitor.desktop"
        done
    } | grep -v '/picluster-[a-z]*\.service$' | sort -u | while read -r file; do
        [ -f "$file" ] && [ -r "$file" ] || continue
        grep -nE '^[^#]*(RPI_CLUSTER|/\.cluster|[Pp]i.?[Cc]luster|monitor\.(py|sh))' "$file" | cut -c 1-160 |
            sed "s|^|  $file:|" || true
    done
}

need_root() {
    [ "$(id -u)" = 0 ] || fail 'This has to run as root: put sudo before sh.'
}

# Doing it

install() {
    before=$(fingerprint)
    download
    [ -z "$enforce" ] || enforce_or_not
    join
    if [ -z "$systemd" ]; then
        say ''
        say 'systemd does not run here. Start the agent with'
        say "  $python -I $pyz"
        return
    fi
    write_unit
    [ -z "$start" ] || start_agent
    # Not before: an agent that still enforces would say that it cannot any more.
    [ -n "$enforce" ] || [ ! -e "$drop_in" ] || remove_drop_in
    say ''
    say "Done. \`journalctl -u picluster-agent\` shows what the agent says; run this again to update it."
}

# Of all that the agent reads at its start: if nothing changed, a running one is left alone.
fingerprint() {
    cat "$pyz" "$unit" "$settings/agent.conf" "$settings/token" "$settings/ca.pem" "$drop_in" 2>/dev/null | cksum
}

download() {
    step "Downloading $base/picluster-agent.pyz"
    mkdir -p "$folder"
    fresh=$folder/.picluster-agent.new
    "$python" -I -c "$(fetcher)" "$base/picluster-agent.pyz" "$fresh" "$ca_file" ||
        {
            rm -f "$fresh"
            rmdir "$folder" 2>/dev/null || true
            exit 6
        }
    if [ -n "$served_sha256" ] && [ "$base" = "$served_url" ] &&
        [ "$(sha256sum "$fresh" | cut -d ' ' -f 1)" != "$served_sha256" ]; then
        rm -f "$fresh"
        fail 'What came is not the agent that this script was served with. Get the script anew, and try again.'
    fi
    chmod 755 "$fresh"
    version=$("$python" -I "$fresh" --version) || {
        rm -f "$fresh"
        fail 'What came is not an agent.'
    }
    mv -f "$fresh" "$pyz"
    say "    picluster-agent $version"
}

# In Python, since that is here for sure. It goes where it was sent and nowhere else.
fetcher() {
    cat <<'END'
import shutil, ssl, sys, urllib.request


class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *asked):
        return None


url, file, ca_file = sys.argv[1:]
try:
    trust = ssl.create_default_context(cafile=ca_file or None)
    opener = urllib.request.build_opener(Stay, urllib.request.HTTPSHandler(context=trust))
    with opener.open(url, timeout=30) as answer, open(file, "wb") as kept:
        shutil.copyfileobj(answer, kept)
        if answer.length:
            raise OSError("the connection broke")
except OSError as problem:
    sys.exit(f"install.sh: {url}: {getattr(problem, 'reason', problem)}")
END
}

join() {
    step 'Joining'
    set -- --url "$url"
    [ -z "$name" ] || set -- "$@" --name "$name"
    [ -z "$labels" ] || set -- "$@" --labels "$labels"
    [ -z "$account" ] || set -- "$@" --ssh-user "$account"
    if [ -n "$ca_file" ]; then
        keep_authority
        set -- "$@" --ca-file "$settings/ca.pem"
    fi
    if [ -n "$token" ]; then
        # Not on the command line, which everybody on the board can read.
        PICLUSTER_JOIN_TOKEN=$token "$python" -I "$pyz" "$@"
    else
        "$python" -I "$pyz" --join '' "$@"
    fi
}

# Where the agent can read it, which may be nobody in particular.
keep_authority() {
    [ "$ca_file" != "$settings/ca.pem" ] || return 0
    mkdir -p "$settings"
    cp "$ca_file" "$settings/ca.pem.new"
    chmod 644 "$settings/ca.pem.new"
    mv -f "$settings/ca.pem.new" "$settings/ca.pem"
}

write_unit() {
    step "Writing $unit"
    if [ -n "$enforce" ]; then enforced_unit; else advisory_unit; fi |
        sed "s|^ExecStart=/usr/bin/python3 |ExecStart=$python |" >"$unit.new"
    mv -f "$unit.new" "$unit"
    systemctl daemon-reload
    systemctl --quiet enable picluster-agent.service
}

start_agent() {
    if systemctl --quiet is-active picluster-agent.service && [ "$before" = "$(fingerprint)" ]; then
        step 'The agent runs already, and nothing has changed'
        return
    fi
    step 'Starting the agent'
    systemctl restart picluster-agent.service ||
        fail 'It did not start: journalctl -u picluster-agent says why.'
}

# Enforcing

enforce_or_not() {
    make_account
    if write_drop_in && check; then
        return
    fi
    if [ -z "$or_advisory" ]; then
        fail 'This board cannot enforce; what is not ok above says why.' \
            'Mend that and run this again, or say --or-advisory.'
    fi
    step 'Going on as an advisory board'
    enforce=''
}

make_account() {
    if getent passwd "$account" >/dev/null; then
        ours "$account" || fail "The account $account is somebody's: what is in its home would be gone after the first lease." \
            'Choose another with --account.'
        step "The account $account is there"
    else
        step "Making the account $account"
        # A * is a password that never fits; a ! would refuse keys, too, where PAM is off.
        useradd -m -s /bin/bash -c "$made_by_us" -p '*' -K HOME_MODE=0700 "$account"
    fi
    # Processes under other user ids would outlive the lease.
    for file in /etc/subuid /etc/subgid; do
        [ ! -f "$file" ] || sed -i "/^$account:/d" "$file"
    done
    for group in gpio i2c spi video dialout plugdev input render; do
        ! getent group "$group" >/dev/null || usermod -a -G "$group" "$account"
    done
}

ours() {
    [ "$(getent passwd "$1" | cut -d: -f5)" = "$made_by_us" ]
}

write_drop_in() {
    step "Writing $drop_in"
    mkdir -p "${drop_in%/*}" /run/sshd
    "$python" -I "$pyz" --print-sshd-config --ssh-user "$account" >"$drop_in.new" || return 1
    mv -f "$drop_in.new" "$drop_in"
    if ! "$(command -v sshd || echo /usr/sbin/sshd)" -t; then
        rm -f "$drop_in"
        say '    The SSH server does not take it, so it is gone again.'
        return 1
    fi
    reload_ssh
}

remove_drop_in() {
    step "Removing $drop_in"
    rm -f "$drop_in"
    reload_ssh
}

reload_ssh() {
    for server in ssh sshd; do
        if systemctl --quiet is-active "$server.service" 2>/dev/null; then
            systemctl reload "$server.service"
            wait_for_ssh
            return
        fi
    done
}

# It begins anew with a new pid file, a moment after it was told to.
wait_for_ssh() {
    for _ in 1 2 3 4 5; do
        [ -z "$(find /run/sshd.pid -newer "${drop_in%/*}" 2>/dev/null)" ] || return 0
        sleep 1
    done
}

check() {
    step 'Checking whether this board can enforce'
    "$python" -I "$pyz" --check --ssh-user "$account"
}

# Removing

plan_removal() {
    [ -n "$account" ] || account=$(setting PICLUSTER_SSH_USER)
    [ -n "$account" ] || account=picluster
    say 'This takes picluster off this board. It will'
    say "  - stop the agent, and remove $unit and $folder"
    [ ! -e "$drop_in" ] || say "  - remove $drop_in, and reload the SSH server"
    if ours "$account"; then
        say "  - end all processes of the account $account, and remove it with its home"
    fi
    say "  - remove $settings and /var/lib/picluster"
    machine=$(setting PICLUSTER_NAME)
    say "The pool keeps its record of the machine until somebody says \`picluster delete ${machine:-NAME}\`."
    say ''
}

remove() {
    step 'Stopping the agent'
    if command -v systemctl >/dev/null; then
        systemctl --quiet disable --now picluster-agent.service picluster-join.service 2>/dev/null || true
    fi
    rm -f "$unit" /etc/systemd/system/picluster-join.service
    if [ -n "$(command -v systemctl)" ] && [ -d /run/systemd/system ]; then
        systemctl daemon-reload
        systemctl reset-failed picluster-agent.service 2>/dev/null || true
    fi
    [ ! -e "$drop_in" ] || remove_drop_in
    ! ours "$account" || remove_account
    step 'Removing files'
    rm -rf "$folder" "$settings" /var/lib/picluster /var/lib/private/picluster /run/picluster /run/private/picluster
    rm -f /run/motd.d/picluster
    say 'Done.'
}

remove_account() {
    step "Removing the account $account"
    for _ in 1 2 3 4 5; do
        systemctl --quiet stop "user@$(id -u "$account").service" 2>/dev/null || true
        # None of them may start another before it is gone, so by a process of that user, and all at once.
        setpriv --reuid="$account" --regid="$(id -g "$account")" --clear-groups sh -c 'kill -s KILL -- -1' \
            2>/dev/null || true
        ! userdel -r "$account" 2>/dev/null || return 0
        sleep 1 # it is dying
    done
    fail "The account $account could not be removed: userdel -r $account says why."
}

# Units

advisory_unit() {
    cat <<'END'
@picluster-agent.service@
END
}

enforced_unit() {
    cat <<'END'
@picluster-agent-enforced.service@
END
}

main "$@"
