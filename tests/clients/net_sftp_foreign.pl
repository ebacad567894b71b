# Net::SFTP::Foreign as people use it: net_sftp_foreign.pl HOST PORT USER KEY: sends the folder out, lists, fetches all into back.
use strict;
use warnings;
use Fcntl ':mode';
use Net::SFTP::Foreign;

my ($host, $port, $user, $key) = @ARGV;
my @more = map { ('-o', $_) } qw(StrictHostKeyChecking=no UserKnownHostsFile=/dev/null IdentitiesOnly=yes LogLevel=ERROR);
my $sftp = Net::SFTP::Foreign->new($host, port => $port, user => $user, key_path => $key, fs_encoding => 'latin1', more => \@more);
$sftp->die_on_error('no connection');
opendir my $out, 'out' or die $!;
my @names = sort grep { !/^\.\.?$/ } readdir $out;
my $number = 0;
for my $name (@names) {
    # With a temporary name, and without.
    my @how = $number++ % 2 ? () : (atomic => 1);
    $sftp->put("out/$name", $name, copy_time => 1, copy_perm => 1, @how) or die "put $name: " . $sftp->error;
    my $facts = $sftp->stat($name) or die "stat $name: " . $sftp->error;
    my @local = stat "out/$name";
    $facts->size == $local[7] && $facts->mtime == $local[9] or die "facts of $name";
}
my @listed = sort map { $_->{filename} } grep { S_ISREG($_->{a}->perm) } @{ $sftp->ls('/') };
"@listed" eq "@names" or die "listed: @listed";
$sftp->mkpath('a/b/c') or die 'mkpath: ' . $sftp->error;
$sftp->rremove('a') or die 'rremove: ' . $sftp->error;
$sftp->statvfs('/') or die 'statvfs: ' . $sftp->error;
$sftp->symlink('link', $names[0]) and die 'a link was made';
$sftp->rename($names[0], $names[1]) and die 'a rename has replaced a file';
for my $name (@names) { $sftp->get($name, "back/$name") or die "get $name: " . $sftp->error }
$sftp->disconnect;
