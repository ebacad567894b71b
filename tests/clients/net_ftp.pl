# Net::FTP as people use it: net_ftp.pl clear|tls HOST PORT USER PASSWORD: sends the folder out, lists, fetches all into back.
use strict;
use warnings;
use Net::FTP;

my ($mode, $host, $port, $user, $password) = @ARGV;
my @tls = (SSL_verify_mode => 0);
my $ftp = Net::FTP->new($host, Port => $port, Passive => 1, Timeout => 30, @tls) or die "no connection: $@";
if ($mode eq 'tls') { $ftp->starttls or die 'TLS: ', $ftp->message }
$ftp->login($user, $password) or die 'login: ', $ftp->message;
$ftp->binary;
opendir my $out, 'out' or die $!;
my @names = sort grep { !/^\.\.?$/ } readdir $out;
for my $name (@names) {
    $ftp->put("out/$name", $name) or die "put $name: ", $ftp->message;
    $ftp->size($name) == -s "out/$name" or die "size of $name: ", $ftp->message;
    $ftp->mdtm($name) or die "time of $name: ", $ftp->message;
}
my @listed = sort $ftp->ls;
"@listed" eq "@names" or die "listed: @listed";
for my $name (@names) { $ftp->get($name, "back/$name") or die "get $name: ", $ftp->message }
$ftp->quit;
