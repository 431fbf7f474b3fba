/*
 * annexd-shell: what sshd runs in the place of git-annex-shell.
 *
 * This is the fast path of annexd_shell.py: it hands an ordinary command over to
 * the daemon and waits for the exit code, without a Python.  All the rest, and
 * whatever fails before the command is handed over, it leaves to that file,
 * which begins anew and says what is wrong.
 *
 * `annexd build-shell` compiles it.  PYTHON and SCRIPT are paths, as strings.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef ANSWER_SECONDS
#define ANSWER_SECONDS 30.0
#endif
#define SYSTEM_SOCKET "/run/annexd/annexd.sock"
#define STANDARD_PATH "/usr/local/bin:/usr/bin:/bin"
#define RAN "ANNEXD_SHELL_RAN" /* tells us when what should be git-annex's own program is us */
#define MOST_WORDS 16          /* of a forced command, which has five */

/* By this the daemon tells this program from git-annex's. */
__attribute__((used)) static const char mark[] = "# annexd-shell: in the place of git-annex-shell";

static char **arguments, *socket_option, *user_option;
static char data[512 * 1024]; /* the frame, then the answer: twice what a daemon takes */

#define FAIL(...) (dprintf(2, "annexd-shell: " __VA_ARGS__), _exit(1))

/* Leave it to Python. */
static _Noreturn void defer(void)
{
    char *python[] = {PYTHON, "-I", "-S", "-B", "-X", "utf8", SCRIPT};
    size_t before = sizeof python / sizeof *python, count = 0;
    while (arguments[count])
        count++;
    char **words = calloc(before + count + 1, sizeof *words);
    if (words && access(SCRIPT, R_OK) == 0) {
        memcpy(words, python, sizeof python);
        memcpy(words + before, arguments, count * sizeof *words);
        execv(PYTHON, words);
        words[before - 2] = "sh"; /* as a script it looks for another Python */
        execv("/bin/sh", words + before - 2);
    }
    FAIL("the rest of annexd is not at %s any more: install it again, then run annexd build-shell\n", SCRIPT);
}

/* The command is handed over, and no answer comes: because of an errno, or of the end of the connection. */
static _Noreturn void lost(int reason)
{
    if (reason == EAGAIN)
        FAIL("the daemon has not answered within %g seconds\n", ANSWER_SECONDS);
    FAIL("the daemon went away%s%s\n", reason ? ": " : "", reason ? strerror(reason) : "");
}

static char *unless_empty(char *text)
{
    return text && *text ? text : NULL;
}

/* Returns where they end.  The first of each counts: what a client may have been let add comes later. */
static char **read_options(char **word)
{
    for (; *word && strncmp(*word, "--", 2) == 0; word++) {
        char **option = NULL;
        size_t length = strcspn(*word, "=");
        if (length == strlen("--user") && strncmp(*word, "--user", length) == 0)
            option = &user_option;
        if (length == strlen("--socket") && strncmp(*word, "--socket", length) == 0)
            option = &socket_option;
        char *value = (*word)[length] ? *word + length + 1 : *++word;
        if (!option || !value)
            defer();
        if (!*option)
            *option = value;
    }
    return word;
}

/*
 * As a login shell: sshd passes what authorized_keys says to -c, and only then
 * is there another text in SSH_ORIGINAL_COMMAND.
 */
static char *read_forced(char *command, char *original)
{
    char *copy, *words[MOST_WORDS + 1] = {NULL};
    size_t count = 0;
    if (!original || user_option || strcmp(original, command) == 0)
        return command;
    if (!(copy = strdup(command)))
        defer();
    while ((words[count] = strtok(count ? NULL : copy, " \t\n\r\v\f")))
        if (++count == MOST_WORDS)
            defer();
    if (count == 0 || (count > 1 && strncmp(words[1], "--", 2) != 0))
        return command;
    char *slash = strrchr(words[0], '/'), *name = slash ? slash + 1 : words[0];
    if (strcmp(name, "annexd-shell") != 0 && strcmp(name, "git-annex-shell") != 0)
        return command;
    if (*read_options(words + 1))
        defer();
    return original;
}

static char *read_command(char **word)
{
    char *original = unless_empty(getenv("SSH_ORIGINAL_COMMAND"));
    if (!*word)
        return original;
    if (strcmp(word[0], "-c") != 0 || !word[1] || word[2] || strcmp(word[1], "-c") == 0)
        defer();
    return unless_empty(read_forced(word[1], original));
}

static int connect_daemon(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const struct timeval limit = {(time_t)ANSWER_SECONDS, (long)(ANSWER_SECONDS * 1e6) % 1000000};
    const char *path = unless_empty(socket_option), *runtime = unless_empty(getenv("XDG_RUNTIME_DIR"));
    char own[64];
    snprintf(own, sizeof own, "/run/user/%lu", (unsigned long)getuid());
    if (!path)
        path = unless_empty(getenv("ANNEXD_SOCKET"));
    if (!path && access(SYSTEM_SOCKET, F_OK) == 0)
        path = SYSTEM_SOCKET;
    int length = snprintf(address.sun_path, sizeof address.sun_path, "%s%s",
                          path ? path : runtime ? runtime : own, path ? "" : "/annexd/annexd.sock");
    if (length < 0 || (size_t)length >= sizeof address.sun_path)
        defer();
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0 || fcntl(fd, F_SETFL, 0) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0)
        defer();
    return fd;
}

/* Adds a field to the frame, if it has a value; returns how long that is now. */
static size_t put(size_t used, const char *name, const char *value)
{
    int more = value ? snprintf(data + used, sizeof data - used, "%c%s=%s", 0, name, value) : 0;
    if (more < 0 || (size_t)more >= sizeof data - used)
        defer();
    return used + (size_t)more;
}

static size_t make_frame(const char *command)
{
    char directory[PATH_MAX];
    const char *cwd = getcwd(directory, sizeof directory);
    if (!cwd && errno != ENOENT) /* it was removed */
        defer();
    size_t used = (size_t)snprintf(data, sizeof data, "%4sshell", ""); /* four bytes for the length */
    used = put(used, "command", command);
    used = put(used, "user", unless_empty(user_option));
    used = put(used, "home", getenv("HOME"));
    used = put(used, "readonly", getenv("GIT_ANNEX_SHELL_READONLY"));
    used = put(used, "appendonly", getenv("GIT_ANNEX_SHELL_APPENDONLY"));
    used = put(used, "limited", getenv("GIT_ANNEX_SHELL_LIMITED"));
    used = put(used, "directory", getenv("GIT_ANNEX_SHELL_DIRECTORY"));
    used = put(used, "connection", getenv("SSH_CONNECTION"));
    used = put(used, "cwd", cwd);
    for (int i = 0; i < 4; i++)
        data[i] = (char)((used - 4) >> (24 - 8 * i) & 0xff);
    return used;
}

/* The descriptors travel with the first byte. */
static void hand_over(int fd, size_t length)
{
    const int standard[] = {0, 1, 2};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof standard)];
    } control = {.space = {0}};
    struct iovec frame = {data, length};
    struct msghdr message = {.msg_iov = &frame, .msg_iovlen = 1};
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof standard);
    memcpy(CMSG_DATA(&control.header), standard, sizeof standard);
    ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
    if (sent < 0)
        defer();
    for (size_t done = (size_t)sent; done < length; done += sent > 0 ? (size_t)sent : 0) {
        sent = send(fd, data + done, length - done, MSG_NOSIGNAL);
        if (sent < 0 && (errno == EPIPE || errno == ECONNRESET))
            return; /* the daemon has heard enough, and says why */
        if (sent < 0 && errno != EINTR)
            lost(errno);
    }
}

static void receive(int fd, void *place, size_t count)
{
    for (char *to = place; count > 0;) {
        ssize_t got = recv(fd, to, count, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            lost(got < 0 ? errno : 0);
        to += got;
        count -= (size_t)got;
    }
}

/* Until the daemon says the exit code. */
static _Noreturn void wait_for_code(int fd)
{
    const struct timeval never = {0, 0};
    unsigned code = 0;
    char digit;
    close(0);
    close(1);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &never, sizeof never);
    receive(fd, &digit, 1);
    do {
        if (digit < '0' || digit > '9')
            lost(EPROTO);
        code = code * 10 + (unsigned)(digit - '0');
        receive(fd, &digit, 1);
    } while (digit != '\n');
    _exit((int)(code & 0xff));
}

/* Returns when the program is in none of the places. */
static void run_from(const char *places, char **argv)
{
    char program[PATH_MAX];
    for (size_t length; *places; places += length + (places[length] == ':')) {
        length = strcspn(places, ":");
        int used = snprintf(program, sizeof program, "%.*s/%s", (int)length, places, argv[0]);
        if (length > 0 && used > 0 && (size_t)used < sizeof program)
            execv(program, argv);
    }
}

/* Become another program; the way back to the daemon closes with that. */
static _Noreturn void run(int fd)
{
    const char own[] = "git-annex-shell", *path = getenv("PATH");
    unsigned char size[4];
    receive(fd, size, sizeof size);
    size_t length = (size_t)size[0] << 24 | (size_t)size[1] << 16 | (size_t)size[2] << 8 | size[3];
    if (length >= sizeof data)
        FAIL("the daemon names a program with too many arguments\n");
    receive(fd, data, length);
    data[length] = '\0';
    char **argv = calloc(length + 2, sizeof *argv); /* no more words than bytes */
    if (!argv)
        FAIL("there is no memory left\n");
    for (size_t at = 0, i = 0; at <= length; at += strlen(data + at) + 1)
        argv[i++] = data + at;
    size_t name = strlen(data);
    if (name >= strlen(own) && strcmp(data + name - strlen(own), own) == 0)
        setenv(RAN, data, 1);
    if (strchr(data, '/')) {
        execv(data, argv);
    } else {
        run_from(path ? path : "", argv);
        run_from(STANDARD_PATH, argv);
    }
    FAIL("%s cannot be run here\n", data);
}

int main(int argc, char **argv)
{
    char answer;
    arguments = argv + (argc > 0);
    for (int fd = 0; fd <= 2; fd++) /* whoever called may have closed some */
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
            defer();
    const char *command = read_command(read_options(arguments));
    if (!command || getenv(RAN))
        defer();
    int fd = connect_daemon();
    hand_over(fd, make_frame(command));
    receive(fd, &answer, 1);
    if (answer == 'w')
        wait_for_code(fd);
    run(fd);
}
