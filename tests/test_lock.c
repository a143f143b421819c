/* Locks, where the kernel has them and where the file system has none: fcntl of this program fails
 * as the case says. */
#include "folder_fixture.h"
#include "io/files/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

TestSuite(lock, .init = open_folder, .fini = close_folder, .timeout = 60);

static int refused; /* errno of every lock, 0: the kernel's answer */

/* In place of the C library's, for the whole program. */
int fcntl(int fd, int command, ...)
{
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (refused && (command == F_SETLK || command == F_GETLK)) {
        errno = refused;
        return -1;
    }
    return (int)syscall(SYS_fcntl, fd, command, argument);
}

/* A child that takes the lock and waits. @return its process */
static pid_t hold(void)
{
    int channel[2];
    char byte = 0;
    cr_assert_eq(pipe(channel), 0);
    pid_t holder = fork();
    if (holder == 0) {
        folder_lock *l;
        byte = lock_take(&l, path_of("lock"), folder, "another run") == STATUS_OK ? 'x' : '-';
        (void)!write(channel[1], &byte, 1);
        pause();
        _exit(0);
    }
    cr_assert_eq(read(channel[0], &byte, 1), 1);
    cr_assert_eq(byte, 'x');
    close(channel[0]);
    close(channel[1]);
    return holder;
}

static void end(pid_t process)
{
    kill(process, SIGKILL);
    waitpid(process, NULL, 0);
}

static status take(void)
{
    folder_lock *l;
    status result = lock_take(&l, path_of("lock"), folder, "another run");
    lock_release(&l);
    return result;
}

static void expect_in_use(pid_t holder)
{
    char words[64];
    snprintf(words, sizeof words, "in use by another run (process %ld on ", (long)holder);
    cr_expect_eq(take(), STATUS_INPUT);
    cr_expect(strstr(status_message(), words), "%s", status_message());
    cr_expect(!refused || strstr(status_message(), "free after 120 s of silence"), "%s",
              status_message());
    status_clear();
    cr_expect(lock_is_held(path_of("lock")));
}

/* What a process of another host left, touched so many seconds ago. */
static void leave(const char *text, time_t ago)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    now.tv_sec -= ago;
    write_file("lock.held", text, strlen(text));
    cr_assert_eq(utimensat(AT_FDCWD, path_of("lock.held"), (struct timespec[]){now, now}, 0), 0);
}

Test(lock, is_one_process_s_and_ends_with_it)
{
    static const int errors[] = {0, ENOLCK, ENOSYS, EOPNOTSUPP, EINVAL};
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        refused = errors[i];
        pid_t holder = hold();
        expect_in_use(holder);
        end(holder);
        cr_expect_not(lock_is_held(path_of("lock")));
        cr_expect_eq(take(), STATUS_OK, "error %d: %s", errors[i], status_message());
        status_clear();
        cr_expect_neq(access(path_of("lock.held"), F_OK), 0);
    }
}

Test(lock, other_failures_are_said)
{
    refused = EIO;
    cr_expect_eq(take(), STATUS_IO);
    cr_expect(strstr(status_message(), "cannot be locked"), "%s", status_message());
    status_clear();
}

/* Nothing is known of a process elsewhere but when it last touched its file. */
Test(lock, of_another_host_is_free_when_it_is_silent)
{
    static const char *const holders[] = {"process 1 on elsewhere\n", ""};
    for (int kernel = 0; kernel < 2; kernel++)
        for (size_t i = 0; i < 2; i++) {
            refused = kernel ? 0 : ENOLCK;
            leave(holders[i], 100);
            cr_expect(lock_is_held(path_of("lock")) || access(path_of("lock"), F_OK) != 0);
            cr_expect_eq(take(), STATUS_INPUT);
            cr_expect(strstr(status_message(), "in use") && strstr(status_message(), " 10"), "%s",
                      status_message());
            status_clear();
            leave(holders[i], 130);
            cr_expect_not(lock_is_held(path_of("lock")));
            cr_expect_eq(take(), STATUS_OK, "%s", status_message());
            unlink(path_of("lock.held"));
        }
}

static time_t touched(void)
{
    struct stat info;
    return stat(path_of("lock.held"), &info) == 0 ? info.st_mtime : 0;
}

/* While its process lives the file is touched, and a process that lost it knows. */
Test(lock, is_touched_and_checked)
{
    folder_lock *l;
    refused = ENOLCK;
    lock_beat_seconds = 0.02;
    cr_assert_eq(lock_take(&l, path_of("lock"), folder, "another run"), STATUS_OK);
    time_t now = time(NULL);
    struct timespec old[2] = {{.tv_sec = now - 1000}, {.tv_sec = now - 1000}};
    cr_assert_eq(utimensat(AT_FDCWD, path_of("lock.held"), old, 0), 0);
    for (int i = 0; i < 2000 && touched() < now - 500; i++)
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    cr_expect_gt(touched(), now - 500);
    cr_expect_eq(lock_check(l), STATUS_OK);
    unlink(path_of("lock.held"));
    leave("process 1 on elsewhere\n", 0);
    cr_expect_eq(lock_check(l), STATUS_IO);
    cr_expect(strstr(status_message(), "taken by process 1 on elsewhere"), "%s", status_message());
    status_clear();
    lock_release(&l);
    cr_expect_eq(access(path_of("lock.held"), F_OK), 0, "the other's file stays");
}

/* Of many that find a stale file at once one gets the lock. */
Test(lock, one_of_many_takes_over)
{
    enum { MANY = 8 };
    for (int round = 0; round < 5; round++) {
        int channel[2], gate[2], got = 0;
        pid_t children[MANY];
        char byte;
        refused = ENOLCK;
        leave("process 1 on elsewhere\n", 1000);
        cr_assert_eq(pipe(channel), 0);
        cr_assert_eq(pipe(gate), 0);
        for (int i = 0; i < MANY; i++) {
            children[i] = fork();
            if (children[i]) continue;
            folder_lock *l;
            close(gate[1]);
            (void)!read(gate[0], &byte, 1); /* all at once, when the parent closes it */
            byte = lock_take(&l, path_of("lock"), folder, "another run") == STATUS_OK ? 'x' : '-';
            (void)!write(channel[1], &byte, 1);
            pause();
            _exit(0);
        }
        close(gate[0]);
        close(gate[1]);
        for (int i = 0; i < MANY; i++) {
            cr_assert_eq(read(channel[0], &byte, 1), 1);
            got += byte == 'x';
        }
        cr_expect_eq(got, 1, "%d have it", got);
        for (int i = 0; i < MANY; i++) end(children[i]);
        close(channel[0]);
        close(channel[1]);
        unlink(path_of("lock.held"));
    }
}

/* What is no file of vario's is named with what to do; a link is not followed. */
Test(lock, only_a_file_will_do)
{
    static const char *const found[] = {"a directory found", "a symbolic link found",
                                        "no regular file found"};
    write_file("victim", "precious", 8);
    for (int i = 0; i < 3; i++) {
        char victim[128];
        snprintf(victim, sizeof victim, "%s", path_of("victim"));
        cr_assert_eq(i == 0   ? mkdir(path_of("lock"), 0777)
                     : i == 1 ? symlink(victim, path_of("lock"))
                              : mkfifo(path_of("lock"), 0666),
                     0);
        cr_expect_eq(take(), STATUS_INPUT);
        cr_expect(strstr(status_message(), found[i]) && strstr(status_message(), "remove it"), "%s",
                  status_message());
        status_clear();
        file_remove_tree(path_of("lock"));
    }
    struct stat info;
    cr_expect(stat(path_of("victim"), &info) == 0 && info.st_size == 8);
}
